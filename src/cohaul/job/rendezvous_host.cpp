#include "cohaul/job/rendezvous_host.h"

#include <map>
#include <thread>
#include <utility>

#include "cohaul/base/mutex.h"
#include "cohaul/job/control_channel.h"

namespace cohaul::job {
namespace {

using transport::Channel;

class Host final : public RendezvousHost {
 public:
  Host(std::unique_ptr<transport::Poller> poller, std::unique_ptr<transport::Endpoint> endpoint,
       const Membership::Options& options, OnDecision on_decision)
      : poller_(std::move(poller)),
        endpoint_(std::move(endpoint)),
        rendezvous_(options, poller_->clock().now()),
        on_decision_(std::move(on_decision)),
        address_(endpoint_->address()),
        thread_([this](const std::stop_token& stop) { run(stop); }) {}

  const transport::Address& address() const override { return address_; }

  void exited(MemberKey who, const ProcessExit& how) override {
    {
      const MutexLock lock(mutex_);
      exits_.emplace_back(who, how);
    }
    poller_->wake();
  }

  std::string last_refusal() override {
    const MutexLock lock(mutex_);
    return last_refusal_;
  }

  void wait_until_left(Time deadline) override {
    MutexLock lock(mutex_);
    while (!over_ && changed_.wait_until(lock, deadline)) continue;
  }

 private:
  void run(const std::stop_token& stop) {
    take_turns(stop, *poller_, [this] { return turn(); });
    for (auto& [id, channel] : channels_) poller_->remove(*channel);
    channels_.clear();
  }

  Time turn() {
    const Clock& clock = poller_->clock();
    take_exits();
    accept_all();
    for (auto it = channels_.begin(); it != channels_.end();) {
      auto id = it->first;
      if (serve(id, *it->second, clock.now())) {
        ++it;
      } else {
        poller_->remove(*it->second);
        it = channels_.erase(it);
        rendezvous_.disconnected(id, clock.now());
      }
    }
    rendezvous_.advance(clock.now());
    for (auto& [id, message] : rendezvous_.take_outgoing()) {
      auto it = channels_.find(id);
      // A channel that fails to send fails to receive, too: it goes in the next turn.
      if (it != channels_.end()) (void)send_control(*it->second, std::move(message)).ok();
    }
    for (const Decision& d : rendezvous_.take_decisions()) {
      if (on_decision_) on_decision_(d);
    }
    publish();
    return rendezvous_.next_time();
  }

  void take_exits() {
    std::vector<std::pair<MemberKey, ProcessExit>> exits;
    {
      const MutexLock lock(mutex_);
      exits.swap(exits_);
    }
    for (auto& [who, how] : exits) rendezvous_.exited(who, how, poller_->clock().now());
  }

  void accept_all() {
    for (;;) {
      auto accepted = endpoint_->accept();
      if (!accepted.ok() || *accepted == nullptr) return;
      std::unique_ptr<Channel> channel = std::move(*accepted);
      if (!poller_->add(*channel).ok()) continue;
      std::uint64_t id = ++last_id_;
      rendezvous_.connected(id, {channel->peer().role, channel->peer().rank});
      channels_.emplace(id, std::move(channel));
    }
  }

  bool serve(std::uint64_t id, Channel& channel, Time now) {
    for (;;) {
      auto message = receive_control(channel);
      if (!message.ok()) return false;
      if (!message->has_value()) return true;
      rendezvous_.received(id, **message, now);
    }
  }

  void publish() {
    const Membership& m = rendezvous_.membership();
    const MutexLock lock(mutex_);
    last_refusal_ = endpoint_->last_refusal();
    over_ = m.loss().has_value() || (m.assembled() && m.all_gone());
    if (over_) changed_.notify_all();
  }

  std::unique_ptr<transport::Poller> poller_;
  std::unique_ptr<transport::Endpoint> endpoint_;
  Rendezvous rendezvous_;
  OnDecision on_decision_;
  const transport::Address address_;
  std::map<std::uint64_t, std::unique_ptr<Channel>> channels_;
  std::uint64_t last_id_ = 0;

  Mutex mutex_;
  CondVar changed_;
  bool over_ COHAUL_GUARDED_BY(mutex_) = false;
  std::string last_refusal_ COHAUL_GUARDED_BY(mutex_);
  std::vector<std::pair<MemberKey, ProcessExit>> exits_ COHAUL_GUARDED_BY(mutex_);

  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace

Result<std::unique_ptr<RendezvousHost>> RendezvousHost::start(const transport::Identity& self,
                                                              const transport::Listening& where,
                                                              const Membership::Options& options,
                                                              OnDecision on_decision) {
  COHAUL_ASSIGN(auto poller, transport::make_poller());
  COHAUL_ASSIGN(auto endpoint, transport::listen(*poller, self, where));
  return std::unique_ptr<RendezvousHost>(
      new Host(std::move(poller), std::move(endpoint), options, std::move(on_decision)));
}

}  // namespace cohaul::job
