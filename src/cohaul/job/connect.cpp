#include "cohaul/job/connect.h"

#include <algorithm>
#include <utility>

#include "cohaul/job/membership.h"

namespace cohaul::job {
namespace {

using Channels = std::vector<std::unique_ptr<transport::Channel>>;

std::string prefix_of(const std::string& purpose) { return "address/" + purpose + "/"; }

/// Registers a poller to be woken on a loss while it lives.
class WakeOnLoss {
 public:
  WakeOnLoss(Job& job, transport::Poller& poller) : job_(job), poller_(poller) { job_.wake_on_loss(&poller_); }
  ~WakeOnLoss() { job_.forget(&poller_); }
  WakeOnLoss(const WakeOnLoss&) = delete;

 private:
  Job& job_;
  transport::Poller& poller_;
};

/// ok while all can still come that are not connected.
Status may_come(const Job& job, const Channels& channels) {
  COHAUL_TRY(job.health());
  for (int rank = 0; rank < job.world(); ++rank) {
    if (rank != job.rank() && channels[rank] == nullptr) COHAUL_TRY(job.left(rank));
  }
  return {};
}

/// Why a connection was not made, where the job can say: the news may still be on its way.
Status reason_of_failure(const Job& job, transport::Poller& poller, const Channels& channels) {
  const Time until = poller.clock().now() + Membership::kEvidenceGrace;
  Status reason = may_come(job, channels);
  while (reason.ok() && poller.clock().now() < until) {
    COHAUL_TRY(poller.wait(until));
    reason = may_come(job, channels);
  }
  return reason;
}

Status connect_lower(Job& job, transport::Poller& poller, const transport::Identity& self, Time deadline,
                     Channels& out) {
  if (job.rank() == 0) return {};
  COHAUL_ASSIGN(const std::vector<std::string> addresses,
                job.gather(prefix_of(self.purpose), job.rank(), true, deadline));
  for (int rank = 0; rank < job.rank(); ++rank) {
    COHAUL_ASSIGN(auto address, transport::Address::decode(addresses[rank]));
    auto channel =
        transport::connect(address, self, job.options().transport, deadline, [&] { return may_come(job, out); });
    if (!channel.ok()) {
      COHAUL_TRY(reason_of_failure(job, poller, out));
      return channel.status();
    }
    COHAUL_TRY(poller.add(**channel));
    out[rank] = std::move(*channel);
  }
  return {};
}

std::string missing(const Job& job, const Channels& channels) {
  std::string names;
  for (int rank = job.rank() + 1; rank < job.world(); ++rank) {
    if (channels[rank] == nullptr) names += (names.empty() ? "" : ", ") + describe({transport::Role::worker, rank});
  }
  return names;
}

Status accept_higher(Job& job, transport::Poller& poller, transport::Endpoint& endpoint, Time deadline, Channels& out) {
  for (int left = job.world() - job.rank() - 1; left > 0;) {
    COHAUL_ASSIGN(auto channel, endpoint.accept());
    if (channel == nullptr) {
      COHAUL_TRY(may_come(job, out));
      if (poller.clock().now() >= deadline) {
        std::string refusal = endpoint.last_refusal();
        return peer_lost("not connected in time: " + missing(job, out) +
                         (refusal.empty() ? "" : "; last refusal: " + refusal));
      }
      COHAUL_TRY(poller.wait(deadline));
      continue;
    }
    int rank = channel->peer().rank;
    if (channel->peer().role != transport::Role::worker || rank <= job.rank() || rank >= job.world() ||
        out[rank] != nullptr) {
      return corrupt(transport::describe(channel->peer()) + " connected, but was not expected to");
    }
    COHAUL_TRY(poller.add(*channel));
    out[rank] = std::move(channel);
    --left;
  }
  return {};
}

}  // namespace

Result<Channels> connect_workers(Job& job, transport::Poller& poller, const std::string& purpose, std::uint64_t model,
                                 Time deadline) {
  Channels out(static_cast<std::size_t>(job.world()));
  if (job.world() == 1) return out;
  transport::Identity self = job.identity(purpose, model);
  WakeOnLoss wake(job, poller);
  Waiting waiting(job);
  std::unique_ptr<transport::Endpoint> endpoint;
  if (job.rank() < job.world() - 1) {
    COHAUL_ASSIGN(endpoint, transport::listen(poller, self, job.listening()));
    COHAUL_TRY(job.set(prefix_of(purpose) + std::to_string(job.rank()), endpoint->address().encode()));
  }
  Status status = connect_lower(job, poller, self, deadline, out);
  if (status.ok() && endpoint != nullptr) status = accept_higher(job, poller, *endpoint, deadline, out);
  if (status.ok()) return out;
  for (auto& channel : out) {
    if (channel != nullptr) poller.remove(*channel);
  }
  // A lost process is the reason, a closed connection only its sign.
  Status health = job.health();
  return (health.ok() ? status : health).context("connect workers for '" + purpose + "'");
}

}  // namespace cohaul::job
