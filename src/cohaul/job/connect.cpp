#include "cohaul/job/connect.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "cohaul/job/membership.h"
#include "cohaul/transport/endpoint.h"

namespace cohaul::job {
namespace {

using Channels = std::vector<std::unique_ptr<transport::Channel>>;
using Among = std::vector<int>;

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

/// Returns ok while all that are not connected yet can still come.
Status may_come(const Job& job, const Among& among, const Channels& channels) {
  COHAUL_TRY(job.health());
  for (const int rank : among) {
    if (rank != job.rank() && channels[rank] == nullptr) COHAUL_TRY(job.left(rank));
  }
  return {};
}

/// Returns why a connection was not made, where the job can say. It waits a little, since the news may still be on
/// its way.
Status reason_of_failure(const Job& job, transport::Poller& poller, const Among& among, const Channels& channels) {
  const Time until = poller.clock().now() + Membership::kEvidenceGrace;
  Status reason = may_come(job, among, channels);
  while (reason.ok() && poller.clock().now() < until) {
    COHAUL_TRY(poller.wait(until));
    reason = may_come(job, among, channels);
  }
  return reason;
}

/// Returns the addresses at which lower ranks listen.
Result<std::vector<std::string>> lower_addresses(Job& job, const std::string& prefix, const Among& among,
                                                 Time deadline) {
  if (static_cast<int>(among.size()) == job.world()) return job.gather(prefix, job.rank(), true, deadline);
  std::vector<std::string> out;
  for (const int rank : among) {
    if (rank >= job.rank()) break;
    COHAUL_ASSIGN(std::string address, job.get_from(rank, prefix + std::to_string(rank), deadline));
    out.push_back(std::move(address));
  }
  return out;
}

Status connect_lower(Job& job, transport::Poller& poller, const transport::Identity& self, const Among& among,
                     Time deadline, Channels& out) {
  if (job.rank() == among.front()) return {};
  COHAUL_ASSIGN(const std::vector<std::string> addresses,
                lower_addresses(job, prefix_of(self.purpose), among, deadline));
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    COHAUL_ASSIGN(auto address, transport::Address::decode(addresses[i]));
    auto channel =
        transport::connect(address, self, job.options().transport, deadline, [&] { return may_come(job, among, out); });
    if (!channel.ok()) {
      COHAUL_TRY(reason_of_failure(job, poller, among, out));
      return channel.status();
    }
    COHAUL_TRY(poller.add(**channel));
    out[among[i]] = std::move(*channel);
  }
  return {};
}

std::string missing(const Job& job, const Among& among, const Channels& channels) {
  std::string names;
  for (const int rank : among) {
    if (rank > job.rank() && channels[rank] == nullptr)
      names += (names.empty() ? "" : ", ") + describe({transport::Role::worker, rank});
  }
  return names;
}

Status accept_higher(Job& job, transport::Poller& poller, transport::Endpoint& endpoint, const Among& among,
                     Time deadline, Channels& out) {
  for (auto left = std::ranges::count_if(among, [&](int rank) { return rank > job.rank(); }); left > 0;) {
    COHAUL_ASSIGN(auto channel, endpoint.accept());
    if (channel == nullptr) {
      COHAUL_TRY(may_come(job, among, out));
      if (poller.clock().now() >= deadline) {
        std::string refusal = endpoint.last_refusal();
        return peer_lost("not connected in time: " + missing(job, among, out) +
                         (refusal.empty() ? "" : "; last refusal: " + refusal));
      }
      COHAUL_TRY(poller.wait(deadline));
      continue;
    }
    int rank = channel->peer().rank;
    if (channel->peer().role != transport::Role::worker || rank <= job.rank() ||
        !std::ranges::binary_search(among, rank) || out[rank] != nullptr) {
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
                                 Time deadline, Among among) {
  Channels out(static_cast<std::size_t>(job.world()));
  if (among.empty()) {
    among.resize(out.size());
    std::iota(among.begin(), among.end(), 0);
  }
  if (among.size() == 1) return out;
  transport::Identity self = job.identity(purpose, model);
  WakeOnLoss wake(job, poller);
  Waiting waiting(job);
  std::unique_ptr<transport::Endpoint> endpoint;
  if (job.rank() != among.back()) {
    COHAUL_ASSIGN(endpoint, transport::listen(poller, self, job.listening()));
    COHAUL_TRY(job.set(prefix_of(purpose) + std::to_string(job.rank()), endpoint->address().encode()));
  }
  Status status = connect_lower(job, poller, self, among, deadline, out);
  if (status.ok() && endpoint != nullptr) status = accept_higher(job, poller, *endpoint, among, deadline, out);
  if (status.ok()) return out;
  for (auto& channel : out) {
    if (channel != nullptr) poller.remove(*channel);
  }
  // Where a process is lost, that is the reason, and the closed connection only its sign.
  Status health = job.health();
  return (health.ok() ? status : health).context("connect workers for '" + purpose + "'");
}

}  // namespace cohaul::job
