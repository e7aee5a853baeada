#pragma once
// AgentLink: messages between the launcher and the agent of a host, over two pipes that ssh connects. A message is a 32-bit length, and texts, each with a
// 32-bit length: the kind, then names and values in turn.

#include <poll.h>

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cohaul/base/limits.h"
#include "cohaul/base/status.h"
#include "cohaul/transport/descriptor.h"

namespace cohaul::job {

struct AgentMessage {
  std::string kind;
  std::map<std::string, std::string> fields{};
  /// Returns a field's text; empty where there is none.
  std::string text(const std::string& name) const;
  /// Returns a field as a number; 0 where there is none, or it is no number.
  std::int64_t number(const std::string& name) const;
};

std::string encode(const AgentMessage& message);
/// Errors: corrupt (not what encode() gives).
Result<AgentMessage> decode_agent_message(std::string_view bytes);

/// One thread. Nothing blocks.
class AgentLink {
 public:
  /// Takes both descriptors, and makes them non-blocking.
  AgentLink(transport::Descriptor in, transport::Descriptor out);

  /// Queues a message, and writes what goes now.
  void send(const AgentMessage& message);
  /// Returns the next message, if one has come whole. Errors, which stay: peer_lost (the other end is gone), corrupt.
  Result<std::optional<AgentMessage>> receive();
  void watch(std::vector<pollfd>& descriptors) const;
  /// Writes what goes now.
  void flush();
  /// Returns how many bytes wait to be written.
  std::size_t queued() const { return out_bytes_.size() - out_at_; }

 private:
  void read_some();

  transport::Descriptor in_, out_;
  std::string in_bytes_, out_bytes_;
  std::size_t out_at_ = 0;
  Status failed_;
};

}  // namespace cohaul::job
