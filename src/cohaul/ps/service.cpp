#include "cohaul/ps/service.h"

#include <utility>

#include "cohaul/base/last_operations.h"
#include "cohaul/job/cores.h"

namespace cohaul::ps {
namespace {

// Of one worker in a row, so that nobody waits long for his turn.
constexpr int kFramesPerTurn = 64;
constexpr Duration kLookAround = kSecond;

}  // namespace

std::string address_key(ServerRank rank, int trainer) {
  return "server/" + std::to_string(trainer) + "/" + std::to_string(rank.value) + "/address";
}

Result<std::unique_ptr<Service>> Service::listen(job::Job& job, ServerRank rank, int trainer) {
  std::unique_ptr<Service> service(new Service(job, rank));
  COHAUL_ASSIGN(service->poller_, transport::make_poller());
  service->poller_->set_spin(job.servers() > 0 ? job::default_spin(job) : 0);
  transport::Identity self = job.identity("ps");
  self.role = transport::Role::server;
  self.rank = rank.value;
  COHAUL_ASSIGN(service->endpoint_, transport::listen(*service->poller_, self, job.options().listen, 0));
  COHAUL_TRY(job.set(address_key(rank, trainer), service->endpoint_->address().encode()));
  service->peers_.resize(job.world());
  job.wake_on_loss(service->poller_.get());
  return service;
}

Service::~Service() {
  if (!poller_) return;
  job_.forget(poller_.get());
  for (auto& peer : peers_) {
    if (peer) poller_->remove(*peer->channel);
  }
  peers_.clear();
  endpoint_.reset();
}

void Service::stop() {
  stopped_ = true;
  poller_->wake();
}

Status Service::run() {
  note_operation("serve as server", rank_.value);
  while (!stopped_) {
    COHAUL_TRY(job_.health());
    COHAUL_ASSIGN(bool busy, turn());
    COHAUL_ASSIGN(bool all_sent, flush());
    if (server_.is_done() && all_sent) break;
    show_life(!busy);
    if (busy) continue;
    COHAUL_TRY(poller_->wait(poller_->clock().now() + kLookAround));
    show_life(false);
  }
  return {};
}

/// Of the process, where it is a server's; a worker's is its training thread's to show.
void Service::show_life(bool waiting) {
  if (job_.role() == transport::Role::server) job_.set_waiting(waiting);
}

Result<bool> Service::turn() {
  COHAUL_ASSIGN(bool busy, accept());
  for (auto& peer : peers_) {
    if (peer) busy |= serve(*peer);
    if (peer && !peer->channel) peer.reset();
  }
  return busy;
}

Result<bool> Service::accept() {
  COHAUL_ASSIGN(std::unique_ptr<transport::Channel> channel, endpoint_->accept());
  if (!channel) return false;
  const transport::Identity& who = channel->peer();
  if (who.role != transport::Role::worker || who.rank < 0 || static_cast<std::size_t>(who.rank) >= peers_.size()) {
    return true;  // dropped: nobody that this job's servers serve
  }
  std::unique_ptr<Peer>& place = peers_[who.rank];
  if (place) part(*place, {});
  COHAUL_TRY(poller_->add(*channel));
  server_.joined(WorkerRank(who.rank), who.incarnation);
  Outgoing outgoing(*channel);
  place.reset(new Peer{WorkerRank(who.rank), std::move(channel), std::move(outgoing), {}, false});
  return true;
}

bool Service::serve(Peer& peer) {
  for (int i = 0; i < kFramesPerTurn; ++i) {
    Result<std::optional<transport::Frame>> frame = peer.channel->receive();
    if (!frame.ok() || !peer.failure.ok()) {
      part(peer, frame.ok() ? peer.failure : frame.status());
      return true;
    }
    if (!frame->has_value()) return i > 0;
    if (peer.is_refused) continue;
    bool is_init = (*frame)->kind == static_cast<std::uint16_t>(Kind::init);
    Status taken = server_.on_frame(peer.worker, std::move(**frame), poller_->clock().now());
    if (taken.ok() && is_init) taken = peer.channel->lend(memory_.arena());
    if (!taken.ok()) refuse(peer, taken);
  }
  return true;
}

void Service::refuse(Peer& peer, const Status& why) {
  note_operation("refuse worker", peer.worker.value);
  std::vector<std::byte> body;
  Writer writer(body);
  Refusal{why.code(), why.message()}.encode(writer);
  send(peer.worker, {.kind = static_cast<std::uint16_t>(Kind::refused), .body = body});
  peer.is_refused = true;
  server_.lost(peer.worker);
}

/// A worker that left without a goodbye is lost; whether the job goes on is the job's to say.
void Service::part(Peer& peer, const Status& why) {
  if (!peer.channel) return;
  poller_->remove(*peer.channel);
  peer.channel.reset();
  if (!why.ok()) server_.lost(peer.worker);
}

void Service::send(WorkerRank to, const transport::Message& message) {
  Peer* peer = static_cast<std::size_t>(to.value) < peers_.size() ? peers_[to.value].get() : nullptr;
  if (peer == nullptr || !peer->channel || peer->is_refused || !peer->failure.ok()) return;
  peer->failure = peer->outgoing.send(message);
}

Result<bool> Service::flush() {
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
