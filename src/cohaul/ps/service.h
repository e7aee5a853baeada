#pragma once
// Service: a server on sockets. The whole of a cohaul-server process, or one thread of a worker where nobody launched servers.

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "cohaul/base/status.h"
#include "cohaul/job/job.h"
#include "cohaul/ps/room.h"
#include "cohaul/transport/endpoint.h"
#include "cohaul/transport/poller.h"

namespace cohaul::ps {

/// The names under which servers publish their addresses in the job's store begin so, and end with the server's rank; trainer: where they serve
/// that one alone.
std::string address_prefix(std::optional<int> trainer = {});

class Service final {
 public:
  /// Listens, and publishes where. trainer: the one that it serves; nothing: all of the job's, each in a room of its own. Does not block.
  /// `job` outlives it. Errors: invalid, unavailable (job.address).
  static Result<std::unique_ptr<Service>> listen(job::Job& job, ServerRank rank, std::optional<int> trainer = {});
  ~Service();

  /// Serves until stop() (ok), until all workers of its only trainer have said goodbye (ok), or the job is broken (peer_lost: who was lost).
  /// A trainer's memory is free when all of its workers have said goodbye. Blocks; the thread that calls it owns everything inside. Once.
  Status run();
  /// Ends run(). Any thread.
  void stop();

 private:
  Service(job::Job& job, ServerRank rank, std::optional<int> trainer) : job_(job), rank_(rank), trainer_(trainer) {}

  void show_life(bool waiting);
  /// True: something happened.
  Result<bool> turn();
  Result<bool> accept();
  /// Sends what goes, and frees the rooms that are done.
  void flush();

  job::Job& job_;
  const ServerRank rank_;
  const std::optional<int> trainer_;
  std::unique_ptr<transport::Poller> poller_;
  std::unique_ptr<transport::Endpoint> endpoint_;
  std::map<int, Room> rooms_;  // by trainer
  bool served_ = false;        // its only trainer is done
  std::atomic<bool> stopped_{false};
};

}  // namespace cohaul::ps
