#include "cohaul/job/control_client.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "cohaul/base/last_operations.h"
#include "cohaul/job/control_channel.h"

namespace cohaul::job {
namespace {

class Client final : public ControlClient {
 public:
  Client(const Options& options, std::unique_ptr<transport::Poller> poller, std::unique_ptr<transport::Channel> channel)
      : options_(options),
        interval_(std::clamp(options.peer_timeout / 20, 20 * kMillisecond, 500 * kMillisecond)),
        poller_(std::move(poller)),
        channel_(std::move(channel)),
        heard_(poller_->clock().now()),
        thread_([this] { run(); }) {}

  ~Client() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    poller_->wake();
    thread_.join();
  }

  Result<std::string> call(ControlMessage message) override {
    auto wait = std::chrono::milliseconds(message.timeout_ms + 1000);
    std::string what = message.key;
    std::unique_lock lock(mutex_);
    if (loss_) return loss_->status();
    std::int64_t request = ++last_request_;
    message.request = request;
    outbox_.push_back(std::move(message));
    auto call = calls_.emplace(request, Call{}).first;
    poller_->wake();
    bool answered = answered_.wait_for(lock, wait, [&] { return call->second.reply.has_value() || loss_.has_value(); });
    auto reply = std::move(calls_.extract(request).mapped().reply);
    if (reply) {
      Status status = status_of(*reply);
      return status.ok() ? Result<std::string>(std::move(reply->value)) : status;
    }
    if (answered) return loss_->status();
    return peer_lost(describe(options_.host) + " has not answered in time" +
                     (what.empty() ? "" : ", asked for '" + what + "'"));
  }

  void post(ControlMessage message) override {
    std::lock_guard lock(mutex_);
    message.request = ++last_request_;
    outbox_.push_back(std::move(message));
    poller_->wake();
  }

  Status health() const override {
    std::lock_guard lock(mutex_);
    return loss_ ? loss_->status() : Status{};
  }
  Status absent(const std::string& group, std::int64_t meetings, std::int64_t step) const override {
    if (!news_.load(std::memory_order_acquire)) return {};
    std::lock_guard lock(mutex_);
    const std::string here =
        ", while this worker is in step " + std::to_string(step + 1) + ": all workers must make the same calls";
    for (int worker : left_) return invalid(left_text(worker) + here);
    for (const auto& [key, meeting] : waits_) {
      if (key.first != group || meeting.number < meetings || meeting.progress > step) continue;
      return invalid(describe({transport::Role::worker, key.second}) + " is in " + describe(meeting) + here);
    }
    return {};
  }
  Status left(int worker) const override {
    if (!news_.load(std::memory_order_acquire)) return {};
    std::lock_guard lock(mutex_);
    return left_.contains(worker) ? invalid(left_text(worker)) : Status{};
  }
  void met(const Meeting& meeting) override {
    if (!news_.load(std::memory_order_acquire)) return;
    std::lock_guard lock(mutex_);
    std::erase_if(waits_, [&](const auto& entry) {
      return entry.first.first == meeting.group && entry.second.number <= meeting.number;
    });
    news_ = !waits_.empty() || !left_.empty();
  }
  void set_waiting(bool waiting) override { busy_since_ = waiting ? kWaits : poller_->clock().now(); }
  void wake_on_loss(transport::Poller* poller) override {
    std::lock_guard lock(mutex_);
    sleepers_.insert(poller);
    if (loss_) poller->wake();
  }
  void forget(transport::Poller* poller) override {
    std::lock_guard lock(mutex_);
    sleepers_.erase(poller);
  }

 private:
  struct Call {
    std::optional<ControlMessage> reply;
  };

  void run() {
    const Clock& clock = poller_->clock();
    Status added = poller_->add(*channel_);
    if (!added.ok()) lose(host_loss(added.message()), clock.now());
    Time next_heartbeat = clock.now();
    while (send_all()) {
      Time now = clock.now();
      if (channel_ && now >= next_heartbeat) {
        ControlMessage m;
        m.kind = ControlKind::heartbeat;
        m.number = busy_ms(now);
        m.value = last_operation();
        send(std::move(m));
        next_heartbeat = now + interval_;
      }
      receive_all(clock.now());
      now = clock.now();
      if (channel_ && now - heard_ >= options_.peer_timeout) {
        char text[64];
        std::snprintf(text, sizeof text, "no answer to heartbeats for %.1f s",
                      static_cast<double>(now - heard_) / kSecond);
        drop(host_loss(text), now);
      }
      if (!options_.engine.empty() && ::getppid() != parent_)
        lose(
            {options_.host,
             "the process of " + options_.engine + " that started this one (" + std::to_string(parent_) + ") has ended",
             "", kLost, false},
            now);
      if (end_at_ <= now) end_process();
      Time next = channel_ ? std::min(next_heartbeat, heard_ + options_.peer_timeout) : kForever;
      (void)poller_->wait(std::min(next, end_at_)).ok();
    }
    if (channel_) poller_->remove(*channel_);
    channel_.reset();
  }

  /// As a heartbeat says it. 0: it waits.
  std::uint64_t busy_ms(Time now) const {
    Time since = busy_since_;
    return since == kWaits ? 0
                           : static_cast<std::uint64_t>(std::max<Duration>(now - since, kMillisecond) / kMillisecond);
  }

  Loss host_loss(std::string how) const { return Loss{options_.host, std::move(how), "", kLost, false, ""}; }

  bool send_all() {
    std::deque<ControlMessage> outbox;
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return false;
      outbox.swap(outbox_);
    }
    for (ControlMessage& m : outbox) send(std::move(m));
    return true;
  }

  void send(ControlMessage message) {
    if (!channel_) return;
    Status sent = send_control(*channel_, std::move(message));
    if (!sent.ok()) drop(host_loss(sent.message()), poller_->clock().now());
  }

  void receive_all(Time now) {
    while (channel_) {
      auto message = receive_control(*channel_);
      if (!message.ok()) return drop(host_loss("its connection closed: " + message.status().message()), now);
      if (!message->has_value()) return;
      heard_ = now;
      handle(std::move(**message), now);
    }
  }

  void handle(ControlMessage message, Time now) {
    if (message.kind == ControlKind::lost) {
      auto loss = decode_loss(message.value);
      return lose(loss.ok() ? *loss : host_loss(loss.status().message()), now);
    }
    if (message.kind == ControlKind::waits) {
      auto absence = decode_absence(message.value);
      if (absence.ok()) learn([&] { waits_[{absence->meeting.group, absence->worker}] = absence->meeting; });
      return;
    }
    if (message.kind == ControlKind::left) return learn([&] { left_.insert(static_cast<int>(message.number)); });
    if (message.kind != ControlKind::reply) return;
    std::lock_guard lock(mutex_);
    auto it = calls_.find(message.request);
    if (it == calls_.end()) return;  // its caller has given up
    it->second.reply = std::move(message);
    answered_.notify_all();
  }

  /// Who will not come: whoever waits has to look.
  template <class Note>
  void learn(const Note& note) {
    std::lock_guard lock(mutex_);
    note();
    news_.store(true, std::memory_order_release);
    for (transport::Poller* p : sleepers_) p->wake();
  }

  static std::string left_text(int worker) { return describe({transport::Role::worker, worker}) + " has left the job"; }

  void drop(Loss loss, Time now) {
    poller_->remove(*channel_);
    channel_.reset();
    lose(std::move(loss), now);
  }

  void lose(Loss loss, Time now) {
    std::lock_guard lock(mutex_);
    if (loss_) return;  // the first decides
    loss_ = std::move(loss);
    end_at_ = now + kEndGrace;
    answered_.notify_all();
    for (transport::Poller* p : sleepers_) p->wake();
  }

  [[noreturn]] void end_process() {
    transport::Identity self = options_.self;
    std::string line = "cohaul: " + transport::describe(self) + ": " + health().message() + "; busy with '" +
                       last_operation() + "' for 3 s since, so it is ended\n";
    (void)!::write(2, line.data(), line.size());
    ::_exit(kLost);
  }

  static constexpr Time kWaits = kForever;

  const Options options_;
  const Duration interval_;
  const pid_t parent_ = ::getppid();
  std::atomic<Time> busy_since_{kWaits};  // until it has joined, it waits
  // The thread's own:
  std::unique_ptr<transport::Poller> poller_;  // others: wake() alone
  std::unique_ptr<transport::Channel> channel_;
  Time heard_;
  Time end_at_ = kForever;

  std::atomic<bool> news_{false};  // waits_ or left_ holds something

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable answered_;
  bool stopping_ = false;
  std::optional<Loss> loss_;
  std::int64_t last_request_ = 0;
  std::deque<ControlMessage> outbox_;
  std::map<std::int64_t, Call> calls_;
  std::set<transport::Poller*> sleepers_;
  std::map<std::pair<std::string, int>, Meeting> waits_;  // by group and worker: the latest meeting at which it waited
  std::set<int> left_;                                    // workers

  std::thread thread_;  // last: it uses all of the above
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
  return std::unique_ptr<ControlClient>(new Client(options, std::move(poller), std::move(channel)));
}

}  // namespace cohaul::job
