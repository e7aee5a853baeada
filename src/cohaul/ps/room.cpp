#include "cohaul/ps/room.h"

#include <optional>
#include <utility>

#include "cohaul/base/last_operations.h"

namespace cohaul::ps {
namespace {

// The number of frames of one worker that are handled in a row. It is limited so that other workers do not wait long.
constexpr int kFramesPerTurn = 64;

}  // namespace

Room::~Room() {
  for (auto& peer : peers_) {
    if (peer) part(*peer, {});
  }
}

Status Room::enter(std::unique_ptr<transport::Channel> channel) {
  const transport::Identity who = channel->peer();
  std::unique_ptr<Peer>& place = peers_[who.rank];
  if (place) part(*place, {});
  COHAUL_TRY(poller_.add(*channel));
  server_.connected(WorkerRank(who.rank), who.incarnation);
  Outgoing outgoing(*channel);
  place.reset(new Peer{WorkerRank(who.rank), std::move(channel), std::move(outgoing), {}, false});
  return {};
}

bool Room::turn() {
  bool busy = false;
  for (auto& peer : peers_) {
    if (peer) busy |= serve(*peer);
    if (peer && !peer->channel) peer.reset();
  }
  return busy;
}

bool Room::serve(Peer& peer) {
  for (int i = 0; i < kFramesPerTurn; ++i) {
    Result<std::optional<transport::Frame>> frame = peer.channel->receive();
    if (!frame.ok() || !peer.failure.ok()) {
      part(peer, frame.ok() ? peer.failure : frame.status());
      return true;
    }
    if (!frame->has_value()) return i > 0;
    if (peer.is_refused) continue;
    bool is_init = (*frame)->kind == static_cast<std::uint16_t>(Kind::init);
    Status taken = server_.on_frame(peer.worker, std::move(**frame), poller_.clock().now());
    if (taken.ok() && is_init) taken = peer.channel->lend(memory_.arena());
    if (!taken.ok()) refuse(peer, taken);
  }
  return true;
}

void Room::refuse(Peer& peer, const Status& why) {
  note_operation("refuse worker", peer.worker.value);
  std::vector<std::byte> body;
  Writer writer(body);
  Refusal{why.code(), why.message()}.encode(writer);
  send(peer.worker, {.kind = static_cast<std::uint16_t>(Kind::refused), .body = body});
  peer.is_refused = true;
  server_.lost(peer.worker);
}

/// Removes a worker. Without a goodbye it is lost for the server; the job decides whether that ends the job.
void Room::part(Peer& peer, const Status& why) {
  if (!peer.channel) return;
  poller_.remove(*peer.channel);
  peer.channel.reset();
  if (!why.ok()) server_.lost(peer.worker);
}

void Room::send(WorkerRank to, const transport::Message& message) {
  Peer* peer = static_cast<std::size_t>(to.value) < peers_.size() ? peers_[to.value].get() : nullptr;
  if (peer == nullptr || !peer->channel || peer->is_refused || !peer->failure.ok()) return;
  peer->failure = peer->outgoing.send(message);
}

bool Room::flush() {
  bool all_sent = true;
  for (auto& peer : peers_) {
    if (!peer || !peer->failure.ok()) continue;
    Result<bool> sent = peer->outgoing.flush();
    if (sent.ok()) {
      all_sent &= *sent;
    } else {
      peer->failure = sent.status();
    }
  }
  return all_sent;
}

}  // namespace cohaul::ps
