#pragma once
// Service: runs a server on sockets. A cohaul-server process runs one Service. If there are no server processes, workers run each server as a Service
// on a thread.

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

/// Returns the prefix of the names under which servers publish their addresses in the job's store; the server's rank follows. trainer: for servers of
/// one trainer alone.
std::string address_prefix(std::optional<int> trainer = {});

class Service final {
 public:
  /// Starts to listen, and publishes the address. trainer: the only trainer that it serves; nothing: all trainers of the job, each in a room of its
  /// own. Does not block. `job` must outlive the result. Errors: invalid, unavailable (job.address).
  static Result<std::unique_ptr<Service>> listen(job::Job& job, ServerRank rank, std::optional<int> trainer = {});
  ~Service();

  /// Serves until stop() is called (ok), all workers of its only trainer have said goodbye (ok), or the job is broken (peer_lost, naming who was
  /// lost). A trainer's memory is freed when all its workers have said goodbye. Blocks; the calling thread owns everything inside. Called once.
  Status run();
  /// Makes run() return. Any thread may call it.
  void stop();

 private:
  Service(job::Job& job, ServerRank rank, std::optional<int> trainer) : job_(job), rank_(rank), trainer_(trainer) {}

  void show_life(bool waiting);
  /// Returns whether something happened.
  Result<bool> turn();
  Result<bool> accept();
  /// Sends as much as possible, and frees the rooms that are done.
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
