#include "cohaul/ps/service.h"

#include <utility>

#include "cohaul/base/last_operations.h"
#include "cohaul/job/cores.h"

namespace cohaul::ps {
namespace {

constexpr Duration kLookAround = kSecond;

}  // namespace

std::string address_prefix(std::optional<int> trainer) {
  return "server/" + (trainer ? std::to_string(*trainer) + "/" : "") + "address/";
}

Result<std::unique_ptr<Service>> Service::listen(job::Job& job, ServerRank rank, std::optional<int> trainer) {
  std::unique_ptr<Service> service(new Service(job, rank, trainer));
  COHAUL_ASSIGN(service->poller_, transport::make_poller());
  service->poller_->set_spin(job.servers() > 0 ? job::default_spin(job) : 0);
  transport::Identity self = job.identity("ps");
  self.role = transport::Role::server;
  self.rank = rank.value;
  COHAUL_ASSIGN(service->endpoint_, transport::listen(*service->poller_, self, job.listening()));
  COHAUL_TRY(job.set(address_prefix(trainer) + std::to_string(rank.value), service->endpoint_->address().encode()));
  job.wake_on_loss(service->poller_.get());
  return service;
}

Service::~Service() {
  if (!poller_) return;
  job_.forget(poller_.get());
  rooms_.clear();
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
    flush();
    if (served_) break;
    show_life(!busy);
    if (busy) continue;
    COHAUL_TRY(poller_->wait(poller_->clock().now() + kLookAround));
    show_life(false);
  }
  return {};
}

/// Shows whether this process is waiting, if it is a server. In a worker the training thread does that.
void Service::show_life(bool waiting) {
  if (job_.role() == transport::Role::server) job_.set_waiting(waiting);
}

Result<bool> Service::turn() {
  COHAUL_ASSIGN(bool busy, accept());
  for (auto& [trainer, room] : rooms_) busy |= room.turn();
  return busy;
}

Result<bool> Service::accept() {
  COHAUL_ASSIGN(std::unique_ptr<transport::Channel> channel, endpoint_->accept());
  if (!channel) return false;
  const transport::Identity& who = channel->peer();
  const std::optional<int> trainer = trainer_of(who.purpose);
  const bool is_ours = trainer && (!trainer_ || trainer == trainer_);
  if (!is_ours || who.role != transport::Role::worker || who.rank < 0 || who.rank >= job_.world())
    return true;  // it is dropped, because it is not a worker of a trainer that this server serves
  auto [room, is_new] = rooms_.try_emplace(*trainer, *poller_, rank_, job_);
  COHAUL_TRY(room->second.enter(std::move(channel)));
  return true;
}

void Service::flush() {
  for (auto it = rooms_.begin(); it != rooms_.end();) {
    const bool all_sent = it->second.flush();
    if (!all_sent || !it->second.is_done()) {
      ++it;
      continue;
    }
    note_operation("the trainer is done", it->first);
    it = rooms_.erase(it);
    served_ = trainer_.has_value();
  }
}

}  // namespace cohaul::ps
