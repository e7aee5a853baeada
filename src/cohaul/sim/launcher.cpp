#include "cohaul/sim/launcher.h"

#include <algorithm>
#include <utility>

#include "cohaul/job/control_channel.h"

namespace cohaul::sim {
namespace {

job::Membership::Options options_of(const Scenario& s) {
  return {.workers = s.workers, .servers = s.servers, .peer_timeout = s.peer_timeout, .join_timeout = kJoinTimeout};
}

}  // namespace

Launcher::Launcher(const Scenario& scenario, OnDecision on_decision)
    : rendezvous_(options_of(scenario), 0), on_decision_(std::move(on_decision)) {}

void Launcher::connected(std::unique_ptr<transport::Channel> channel) {
  std::uint64_t id = channels_.size() + 1;
  rendezvous_.connected(id, {channel->peer().role, channel->peer().rank});
  channels_.emplace(id, std::move(channel));
}

void Launcher::kill() {
  stopped_until_ = kForever;
  for (auto& [id, channel] : channels_) channel.reset();
}

void Launcher::turn(Time now) {
  if (now < stopped_until_) return;
  for (const End& end : ends_) {
    if (end.at <= now) rendezvous_.exited(end.who, end.how, now);
  }
  std::erase_if(ends_, [&](const End& end) { return end.at <= now; });
  for (auto& [id, channel] : channels_) {
    if (!channel || serve(id, *channel, now)) continue;
    channel.reset();
    rendezvous_.disconnected(id, now);
  }
  rendezvous_.advance(now);
  for (auto& [id, message] : rendezvous_.take_outgoing()) {
    if (!channels_[id]) continue;
    traffic_.add(message);
    (void)job::send_control(*channels_[id], std::move(message)).ok();
  }
  for (const job::Decision& d : rendezvous_.take_decisions()) on_decision_(d, now);
}

bool Launcher::serve(std::uint64_t id, transport::Channel& channel, Time now) {
  for (;;) {
    auto message = job::receive_control(channel);
    if (!message.ok()) return false;
    if (!*message) return true;
    traffic_.add(**message);
    rendezvous_.received(id, **message, now);
  }
}

Time Launcher::next_time() const {
  Time next = rendezvous_.next_time();
  for (const End& end : ends_) next = std::min(next, end.at);
  return std::max(next, stopped_until_);
}

}  // namespace cohaul::sim
