#include "cohaul/transport/poller.h"

#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <span>

#include "cohaul/transport/real_poller.h"
#include "cohaul/transport/socket.h"

namespace cohaul::transport {
namespace {

// While rings keep wait() from sleeping, it looks at the sockets only once in so many calls.
constexpr int kWaitsWithoutLookMax = 64;
constexpr int kSpinsPerLook = 64;
// How long a poller spins before it yields its core to other threads in between. A sleeping thread is woken on the
// core of the thread that wakes it: two processes that pass work to and fro would share one core, one at a time, and
// the scheduler would see no reason to part them. A thread that spins stays runnable, so the scheduler parts them.
constexpr Duration kSpinAlone = 50 * kMicrosecond;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

timespec until(Time deadline) {
  Duration left = deadline == kForever ? 0 : std::max<Duration>(deadline - steady_clock().now(), 0);
  return {left / kSecond, left % kSecond};
}

/// As epoll_pwait2, which kernels before 5.11 lack and which containers of that time refuse.
int wait_for_events(int epoll, std::span<epoll_event> events, Time deadline) {
  static std::atomic<bool> has_pwait2{true};
  const int most = static_cast<int>(events.size());
  if (has_pwait2.load(std::memory_order_relaxed)) {
    timespec left = until(deadline);
    const int n = epoll_pwait2(epoll, events.data(), most, deadline == kForever ? nullptr : &left, nullptr);
    if (n >= 0 || (errno != ENOSYS && errno != EPERM)) return n;
    has_pwait2 = false;
  }
  wait_for(epoll, POLLIN, deadline);
  return epoll_wait(epoll, events.data(), most, 0);
}

}  // namespace

bool wait_for(int fd, short events, Time deadline) {
  for (;;) {
    pollfd p{fd, events, 0};
    timespec left = until(deadline);
    int n = ppoll(&p, 1, deadline == kForever ? nullptr : &left, nullptr);
    if (n > 0) return true;
    if (n == 0) return false;
    if (errno != EINTR) return true;  // the caller's next call on fd says what is wrong
  }
}

Result<std::unique_ptr<RealPoller>> RealPoller::make() {
  std::unique_ptr<RealPoller> p(new RealPoller);
  p->epoll_ = Descriptor(epoll_create1(EPOLL_CLOEXEC));
  if (!p->epoll_.valid()) return system_error("epoll_create1", errno);
  p->bell_ = Descriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!p->bell_.valid()) return system_error("eventfd", errno);
  epoll_event e{};
  e.events = EPOLLIN | EPOLLET;  // an edge at every write, so it need not be read
  e.data.ptr = nullptr;
  if (epoll_ctl(p->epoll_.get(), EPOLL_CTL_ADD, p->bell_.get(), &e) != 0) return system_error("epoll_ctl", errno);
  return p;
}

RealPoller::~RealPoller() {
  for (Watched* w : members_) w->detach(*this);
}

Status RealPoller::add(Channel& channel) {
  auto* watched = dynamic_cast<Watched*>(&channel);
  if (watched == nullptr) return invalid("a channel of another network cannot be added to this poller");
  return watch(*watched);
}

void RealPoller::remove(Channel& channel) {
  if (auto* watched = dynamic_cast<Watched*>(&channel)) leave(*watched);
}

Status RealPoller::watch(Watched& watched) {
  COHAUL_TRY(watched.attach(*this));
  members_.push_back(&watched);
  if (watched.is_ring()) rings_.push_back(&watched);
  return {};
}

void RealPoller::leave(Watched& watched) {
  if (std::erase(members_, &watched) == 0) return;
  std::erase(rings_, &watched);
  watched.detach(*this);
}

Status RealPoller::watch(int fd, std::uint32_t events, Watched& owner) {
  Watch& w = watches_[fd];
  w = {&owner, fd};
  epoll_event e{};
  e.events = events | EPOLLET;
  e.data.ptr = &w;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &e) == 0) return {};
  int error = errno;
  watches_.erase(fd);
  return system_error("epoll_ctl", error);
}

void RealPoller::unwatch(int fd) {
  if (watches_.erase(fd) > 0) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

void RealPoller::wake() {
  woken_.store(true);
  std::uint64_t one = 1;
  [[maybe_unused]] ssize_t n = write(bell_.get(), &one, sizeof one);
}

// Asks all members, also after one is ready, since a channel writes what is queued in ready().
bool RealPoller::any_ready() {
  bool any = false;
  for (Watched* w : members_) any |= w->ready();
  return any;
}

Status RealPoller::wait(Time deadline) {
  if (woken_.exchange(false)) return {};
  bool look =
      ++waits_without_look_ >= kWaitsWithoutLookMax || (members_.size() > rings_.size() && waits_without_look_ >= 8);
  if (look) COHAUL_TRY(dispatch(0));
  if (any_ready()) return {};
  if (spin_ > 0 && !rings_.empty()) {
    if (spin_until(std::min(deadline, clock().now() + spin_))) return {};
    if (any_ready()) return {};
  }
  for (;;) {
    COHAUL_ASSIGN(bool ready, sleep_until(deadline));
    if (ready || woken_.exchange(false) || any_ready()) return {};
    if (deadline != kForever && clock().now() >= deadline) return {};
  }
}

bool RealPoller::spin_until(Time end) {
  bool sockets = members_.size() > rings_.size();
  const Time alone_until = clock().now() + kSpinAlone;
  for (;;) {
    for (int i = 0; i < kSpinsPerLook; ++i) {
      for (Watched* w : rings_) {
        if (w->peek()) return true;
      }
      relax();
    }
    if (woken_.exchange(false)) return true;
    if (sockets && (!dispatch(0).ok() || any_ready())) return true;
    const Time now = clock().now();
    if (now >= end) return false;
    if (now >= alone_until) ::sched_yield();
  }
}

// A peer that puts a frame into a ring after before_sleep() rings the bell; any_ready() sees a frame that came
// earlier.
Result<bool> RealPoller::sleep_until(Time deadline) {
  for (Watched* w : rings_) w->before_sleep();
  bool ready = any_ready();
  Status s = ready ? Status{} : dispatch(deadline);
  for (Watched* w : rings_) w->after_sleep();
  if (!s.ok()) return s;
  return ready;
}

Status RealPoller::dispatch(Time deadline) {
  waits_without_look_ = 0;
  std::array<epoll_event, 64> events;
  const int n = wait_for_events(epoll_.get(), events, deadline);
  if (n < 0) return errno == EINTR ? Status{} : system_error("epoll_pwait2", errno);
  for (int i = 0; i < n; ++i) {
    if (auto* w = static_cast<Watch*>(events[i].data.ptr)) w->owner->on_event(w->fd, events[i].events);
  }
  return {};
}

Result<std::unique_ptr<Poller>> make_poller() {
  COHAUL_ASSIGN(std::unique_ptr<RealPoller> p, RealPoller::make());
  return std::unique_ptr<Poller>(std::move(p));
}

}  // namespace cohaul::transport
