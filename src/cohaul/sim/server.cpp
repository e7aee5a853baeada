#include "cohaul/sim/server.h"

#include <utility>

namespace cohaul::sim {

Server::Server(const Scenario& scenario, ServerRank rank, Heart heart, Witness& witness, Saving& saving)
    : Process({transport::Role::server, rank.value}, std::move(heart), scenario),
      witness_(witness),
      saving_(saving),
      random_(scenario.seed, 200 + rank.value),
      writing_max_(10 * scenario.compute_max),
      disk_(saving, rank.value),
      server_(rank, memory_, *this, &disk_) {}

void Server::connected(std::unique_ptr<transport::Channel> channel) {
  server_.connected(WorkerRank(static_cast<std::int32_t>(peers_.size())), Incarnation(1));
  peers_.push_back(std::make_unique<Peer>(std::move(channel)));
}

std::vector<std::unique_ptr<transport::Channel>*> Server::links() {
  std::vector<std::unique_ptr<transport::Channel>*> out;
  for (auto& peer : peers_) out.push_back(&peer->channel);
  return out;
}

void Server::work(Time now) {
  if (heart().loss()) {
    WorkerRank lost(heart().loss()->who.rank);
    server_.lost(lost);
    peers_[lost.value]->is_given_up = true;
  }
  bool all_sent = true;
  for (std::size_t w = 0; w < peers_.size(); ++w) serve(WorkerRank(static_cast<std::int32_t>(w)), *peers_[w], now);
  for (auto& peer : peers_) {
    if (!peer->channel || !peer->failure.ok()) continue;
    Result<bool> sent = peer->outgoing.flush();
    if (sent.ok()) all_sent &= *sent;
    if (!sent.ok()) peer->failure = sent.status();
  }
  if (disk_.take_copied()) written_at_ = now + 1 + static_cast<Duration>(random_.below(writing_max_));
  if (now >= written_at_) {
    written_at_ = kForever;
    saving_.servers_said.insert(who().rank);
  }
  is_finished_ = server_.is_done() && all_sent && written_at_ == kForever;
}

void Server::serve(WorkerRank from, Peer& peer, Time now) {
  while (peer.channel) {
    auto frame = peer.channel->receive();
    if (!frame.ok() || !peer.failure.ok()) {
      peer.channel.reset();
      return server_.lost(from);
    }
    if (!*frame) return;
    if (peer.is_refused) continue;
    bool is_init = (*frame)->kind == static_cast<std::uint16_t>(ps::Kind::init);
    Status taken = server_.on_frame(from, std::move(**frame), now);
    if (taken.ok() && is_init) taken = peer.channel->lend(memory_.arena());
    if (!taken.ok()) refuse(from, peer, taken);
  }
}

void Server::refuse(WorkerRank who, Peer& peer, const Status& why) {
  witness_.on_refused(this->who(), who.value, why);
  std::vector<std::byte> body;
  Writer writer(body);
  ps::Refusal{why.code(), why.message()}.encode(writer);
  send(who, {.kind = static_cast<std::uint16_t>(ps::Kind::refused), .body = body});
  peer.is_refused = true;
  server_.lost(who);
}

void Server::send(WorkerRank to, const transport::Message& message) {
  Peer& peer = *peers_[to.value];
  bool is_refusal = message.kind == static_cast<std::uint16_t>(ps::Kind::refused);
  if (peer.is_given_up && !is_refusal) witness_.on_sent_to_lost(this->who(), to.value);
  witness_.on_sent(to.value, message);
  if (peer.channel && !peer.is_refused && peer.failure.ok()) peer.failure = peer.outgoing.send(message);
}

}  // namespace cohaul::sim
