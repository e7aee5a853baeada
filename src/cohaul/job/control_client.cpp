#include "cohaul/job/control_client.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>
#include <utility>

#include "cohaul/base/last_operations.h"
#include "cohaul/base/mutex.h"
#include "cohaul/job/control_channel.h"
#include "cohaul/job/process.h"

namespace cohaul::job {
namespace {

class Client final : public ControlClient {
 public:
  Client(const Options& options, std::unique_ptr<transport::Poller> poller, std::unique_ptr<transport::Channel> channel)
      : options_(options),
        poller_(std::move(poller)),
        channel_(std::move(channel)),
        session_(options.session, poller_->clock().now()),
        thread_([this](const std::stop_token& stop) { run(stop); }) {}

  Result<std::string> call(ControlMessage message) override {
    MutexLock lock(mutex_);
    const std::int64_t request = session_.call(std::move(message), now());
    poller_->wake();
    for (;;) {
      if (auto answer = session_.take_answer(request, now())) return std::move(*answer);
      answered_.wait_until(lock, session_.deadline_of(request));
    }
  }
  void post(ControlMessage message) override {
    const MutexLock lock(mutex_);
    session_.post(std::move(message));
    poller_->wake();
  }

  Status health() const override {
    const MutexLock lock(mutex_);
    return session_.health();
  }
  Status absent(const std::string& group, std::int64_t meetings, std::int64_t step) const override {
    if (!has_news_.load(std::memory_order_acquire)) return {};
    const MutexLock lock(mutex_);
    return session_.absent(group, meetings, step);
  }
  Status left(int worker) const override {
    if (!has_news_.load(std::memory_order_acquire)) return {};
    const MutexLock lock(mutex_);
    return session_.left(worker);
  }
  void met(const Meeting& meeting) override {
    if (!has_news_.load(std::memory_order_acquire)) return;
    const MutexLock lock(mutex_);
    session_.met(meeting);
    has_news_ = session_.has_news();
  }
  void set_waiting(bool waiting) override { busy_since_ = waiting ? MemberSession::kWaits : now(); }
  void set_fellows(std::vector<Member> fellows) override {
    const MutexLock lock(mutex_);
    fellows_ = std::move(fellows);
  }
  void wake_on_loss(transport::Poller* poller) override {
    const MutexLock lock(mutex_);
    sleepers_.insert(poller);
    if (session_.loss()) poller->wake();
  }
  void forget(transport::Poller* poller) override {
    const MutexLock lock(mutex_);
    sleepers_.erase(poller);
  }

 private:
  Time now() const { return poller_->clock().now(); }

  void run(const std::stop_token& stop) {
    take_turns(stop, *poller_, [this] { return turn(); });
    receive_all();
    continue_lost();  // the loss may have come since the last turn
    close();
  }

  /// Receives what has come, and sends what is due. Returns when the next turn must be.
  Time turn() {
    receive_all();
    watch_engine();
    std::vector<ControlMessage> outgoing;
    {
      const MutexLock lock(mutex_);
      session_.advance(busy_since_, last_operation(), now());
      outgoing = session_.take_outgoing();
      if (!session_.connected()) close();
    }
    for (ControlMessage& m : outgoing) send(std::move(m));
    continue_lost();
    const MutexLock lock(mutex_);
    publish();
    if (session_.ends_at() <= now()) end_process();
    return std::min(session_.next_time(), session_.ends_at());
  }

  void receive_all() {
    while (channel_) {
      auto message = receive_control(*channel_);
      if (!message.ok()) return drop("its connection closed: " + message.status().message());
      if (!message->has_value()) return;
      const MutexLock lock(mutex_);
      session_.received(std::move(**message), now());
      has_news_.store(session_.has_news(), std::memory_order_release);
    }
  }

  void send(ControlMessage message) {
    if (!channel_) return;
    Status sent = send_control(*channel_, std::move(message));
    if (!sent.ok()) drop(sent.message());
  }

  void drop(std::string how) {
    close();
    const MutexLock lock(mutex_);
    session_.disconnected(std::move(how), now());
  }

  void close() {
    if (!channel_) return;
    poller_->remove(*channel_);
    channel_.reset();
  }

  void watch_engine() {
    if (options_.engine.empty() || ::getppid() == parent_) return;
    std::string how =
        "the process of " + options_.engine + " that started this one (" + std::to_string(parent_) + ") has ended";
    const MutexLock lock(mutex_);
    session_.lose({options_.session.host, std::move(how), "", kLost, false, ""}, now());
  }

  void continue_lost() {
    const MutexLock lock(mutex_);
    if (!session_.loss()) return;
    for (const Member& m : std::exchange(fellows_, {}))
      if (m.key() == session_.loss()->who) (void)continue_stopped(static_cast<pid_t>(m.pid), m.process);
  }

  /// Wakes the threads that wait, so that they look at what has changed.
  void publish() COHAUL_REQUIRES(mutex_) {
    answered_.notify_all();
    if (!session_.take_alarm()) return;
    for (transport::Poller* p : sleepers_) p->wake();
  }

  [[noreturn]] void end_process() const COHAUL_REQUIRES(mutex_) {
    std::string line = "cohaul: " + transport::describe(options_.self) + ": " + session_.health().message() +
                       "; busy with '" + last_operation() + "' for 3 s since, so it is ended\n";
    (void)!::write(2, line.data(), line.size());
    ::_exit(kLost);
  }

  const Options options_;
  const pid_t parent_ = ::getppid();
  std::atomic<Time> busy_since_{MemberSession::kWaits};
  std::atomic<bool> has_news_{false};  // as the session's
  // The thread's own:
  std::unique_ptr<transport::Poller> poller_;  // others: wake() and clock() alone
  std::unique_ptr<transport::Channel> channel_;

  mutable Mutex mutex_;
  CondVar answered_;
  MemberSession session_ COHAUL_GUARDED_BY(mutex_);
  std::set<transport::Poller*> sleepers_ COHAUL_GUARDED_BY(mutex_);
  std::vector<Member> fellows_ COHAUL_GUARDED_BY(mutex_);

  std::jthread thread_;  // last: it uses all of the above
};

Result<std::unique_ptr<transport::Channel>> connect_to_any(const ControlClient::Options& options,
                                                           transport::Poller& poller, Time deadline) {
  constexpr auto kForm = transport::Form::tcp;
  if (options.rendezvous.size() == 1)
    return transport::connect(options.rendezvous.front(), options.self, kForm, deadline);
  constexpr Duration kAnswer = 2 * kSecond;  // of another program at one of the ports, which may never come
  constexpr Duration kRetryAfter = 5 * kMillisecond;
  const auto once = [] { return unavailable("nobody listens"); };
  for (Status other;;) {
    for (const transport::Address& to : options.rendezvous) {
      const Time answered_by = std::min(deadline, steady_clock().now() + kAnswer);
      auto channel = transport::connect(to, options.self, kForm, answered_by, once);
      if (channel.ok()) return channel;
      if (channel.status().code() != Code::unavailable) other = channel.status();
    }
    if (steady_clock().now() >= deadline)
      return peer_lost("worker 0 listens at none of the " + std::to_string(options.rendezvous.size()) +
                       " ports that follow from the run's name" +
                       (other.ok() ? "" : "; at one of them: " + std::string(other.message())));
    COHAUL_TRY(poller.wait(std::min(deadline, steady_clock().now() + kRetryAfter)));
  }
}

}  // namespace

Result<std::unique_ptr<ControlClient>> ControlClient::connect(const Options& options, Time deadline) {
  COHAUL_ASSIGN(auto poller, transport::make_poller());
  COHAUL_ASSIGN(auto channel, connect_to_any(options, *poller, deadline));
  COHAUL_TRY(poller->add(*channel));
  return std::unique_ptr<ControlClient>(new Client(options, std::move(poller), std::move(channel)));
}

}  // namespace cohaul::job
