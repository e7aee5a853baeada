#pragma once
// Finds which processes of a job are on one host: those that can hand memory to each other. Equal names or numbers of
// machines prove nothing.

#include <memory>
#include <string>

#include "cohaul/transport/channel.h"
#include "cohaul/transport/memory_desk.h"

namespace cohaul::job {

class HostProof {
 public:
  /// Finds the host's id. The first process of the job on this host draws it, and hands it to the others in a piece
  /// of memory as long as it lives. Blocks for some milliseconds. A process to which nothing can be handed is on a
  /// host of its own.
  static HostProof of(const transport::Identity& self);
  const std::string& host_id() const { return host_id_; }

 private:
  std::string host_id_;
  std::unique_ptr<transport::MemoryDesk> desk_;  // null: another process has it
};

}  // namespace cohaul::job
