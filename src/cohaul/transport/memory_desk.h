#pragma once
// MemoryDesk: hands memory to other processes of this host. They need no right to look into this process, so they may have another user or another
// namespace of process numbers; they need its network namespace, and a ticket.

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "cohaul/base/clock.h"
#include "cohaul/base/mutex.h"
#include "cohaul/base/status.h"
#include "cohaul/transport/descriptor.h"

namespace cohaul::transport {

/// Any thread. A thread of its own answers the processes that ask.
class MemoryDesk {
 public:
  using Offers = std::map<std::uint64_t, Descriptor>;  // by ticket

  /// name: of an abstract Unix socket. unavailable: another process has it. `offers` are there before the first
  /// process can ask.
  static Result<std::unique_ptr<MemoryDesk>> open(const std::string& name, Offers offers = {});
  ~MemoryDesk();
  MemoryDesk(const MemoryDesk&) = delete;

  const std::string& name() const { return name_; }
  /// Gives a copy of the descriptor to every process that shows the ticket, until withdraw().
  void offer(std::uint64_t ticket, Descriptor descriptor);
  void withdraw(std::uint64_t ticket);

 private:
  MemoryDesk(std::string name, Descriptor listener, Offers offers);
  void run();
  void answer(const Descriptor& client);

  const std::string name_;
  const Descriptor listener_;
  std::atomic<bool> stopping_{false};
  Mutex mutex_;
  Offers offers_ COHAUL_GUARDED_BY(mutex_);
  std::thread thread_;  // last: it uses all of the above
};

/// Returns what the desk of this name has for the ticket. Blocks until it answers, or `deadline`. peer_lost: there is
/// no such desk here, it has nothing for this ticket, or does not answer.
Result<Descriptor> ask_desk(const std::string& name, std::uint64_t ticket, Time deadline);

}  // namespace cohaul::transport
