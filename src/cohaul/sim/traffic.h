#pragma once
// Counts of the messages between a process and the rendezvous.

#include <cstdint>
#include <map>

#include "cohaul/job/control.h"
#include "cohaul/transport/wire.h"

namespace cohaul::sim {

struct Traffic {
  struct Count {
    std::int64_t messages = 0, bytes = 0;
  };
  std::map<job::ControlKind, Count> kinds;

  /// Counts a message, with its length on the wire.
  void add(const job::ControlMessage& message) {
    Count& count = kinds[message.kind];
    ++count.messages;
    count.bytes +=
        static_cast<std::int64_t>(transport::kHeaderBytes + job::encode_body(message).size() + message.value.size());
  }
  Count all() const {
    Count sum;
    for (const auto& [kind, count] : kinds) sum.messages += count.messages, sum.bytes += count.bytes;
    return sum;
  }
};

}  // namespace cohaul::sim
