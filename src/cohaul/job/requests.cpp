#include "cohaul/job/requests.h"

#include <signal.h>

#include <atomic>
#include <cerrno>

#include "cohaul/base/clock.h"

namespace cohaul::job {
namespace {

constexpr Duration kSameSignal = 500 * kMillisecond;

// Globals, since a signal handler can reach nothing else.
std::atomic<int> stop_signal{0};
std::atomic<Time> stop_came_at{0};
std::atomic<bool> checkpoint_asked{false};
std::atomic<int> takers_of_stops{0};
static_assert(std::atomic<Time>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

void on_stop(int signal) {
  const int before = errno;
  const Time now = steady_clock().now();
  Time first = 0;
  if (stop_came_at.compare_exchange_strong(first, now)) {
    stop_signal = signal;
  } else if (now - first >= kSameSignal) {
    ::signal(signal, SIG_DFL);
    ::raise(signal);  // taken when this handler returns
  }
  errno = before;
}

void on_checkpoint(int) { checkpoint_asked = true; }

using Handler = void (*)(int);

void replace(int signal, Handler from, Handler to) {
  struct sigaction now {};
  if (::sigaction(signal, nullptr, &now) != 0 || (now.sa_flags & SA_SIGINFO) != 0 || now.sa_handler != from) return;
  now = {};
  now.sa_handler = to;
  now.sa_flags = SA_RESTART;
  sigemptyset(&now.sa_mask);
  ::sigaction(signal, &now, nullptr);
}

}  // namespace

std::string signal_name(std::uint8_t stop) {
  const int signal = stop - 128;
  return signal == SIGTERM ? "SIGTERM" : signal == SIGINT ? "SIGINT" : "signal " + std::to_string(signal);
}

Requests::Requests(bool stops) : stops_(stops) {
  (void)steady_clock();  // made here, not in a handler
  replace(SIGUSR1, SIG_DFL, on_checkpoint);
  if (!stops_ || takers_of_stops++ > 0) return;
  for (int s : {SIGTERM, SIGINT}) replace(s, SIG_DFL, on_stop);
}

Requests::~Requests() {
  if (!stops_ || --takers_of_stops > 0) return;
  for (int s : {SIGTERM, SIGINT}) replace(s, on_stop, SIG_DFL);
}

std::uint8_t Requests::pending() const {
  if (const int signal = stop_signal; stops_ && signal != 0) return static_cast<std::uint8_t>(128 + signal);
  return checkpoint_asked ? kCheckpointRequest : 0;
}

void Requests::checkpoint_begins() { checkpoint_asked = false; }

void Requests::stopping() {
  stop_signal = 0;
  stop_came_at = 0;
}

void Requests::suffer() {
  if (takers_of_stops > 0) return;
  if (const int signal = stop_signal.exchange(0); signal != 0) ::raise(signal);
}

}  // namespace cohaul::job
