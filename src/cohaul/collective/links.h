#pragma once
// Links: one rank's channels to all other ranks of a group, and the one place where a collective waits. Frames that
// come while another frame is waited for are kept in order, per peer.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/base/limits.h"
#include "cohaul/base/status.h"
#include "cohaul/base/watch.h"
#include "cohaul/transport/channel.h"
#include "cohaul/transport/poller.h"

namespace cohaul::collective {

/// One thread. The first failure is sticky: later calls return it again.
class Links {
 public:
  /// channels: by rank, null at `rank`; already added to `poller`, which outlives the links, as `watch` does. timeout: of one
  /// wait.
  Links(int rank, std::vector<std::unique_ptr<transport::Channel>> channels, transport::Poller& poller, Watch& watch,
        Duration timeout);
  ~Links();

  int rank() const { return rank_; }
  int size() const { return static_cast<int>(channels_.size()); }
  transport::Channel& channel(int rank) { return *channels_[rank]; }
  transport::Poller& poller() { return poller_; }
  Watch& watch() { return watch_; }
  Duration timeout() const { return timeout_; }

  /// Queues a message; blocks only while the channel's queue is full. operation: a literal, for the error's text.
  Status send(int to, const transport::Message& message, const char* operation);
  /// Queues a message; never blocks. What a full channel does not take waits here until flushed, with a copy of its
  /// body; the caller bounds how much that is. peer_lost, corrupt: nothing can be sent to this rank any more; not
  /// sticky here.
  Status post(int to, const transport::Message& message);
  /// Returns the next frame from `from`. Blocks until it is there, or the timeout (peer_lost, naming rank and
  /// operation). higher_too: frames of higher ranks are wanted next, so the loss of one that has sent none is found
  /// now.
  Result<transport::Frame> receive(int from, const char* operation, bool higher_too = false);
  /// Takes what has come, without waiting. Of each peer but `waited` it keeps kKeptFramesMax frames at most.
  Status drain(int waited = -1);
  /// Returns the oldest frame from `from`, or null where none has come. It stays until take().
  const transport::Frame* next(int from);
  /// Takes the oldest frame kept from `from`, if any; does not look at the channel.
  bool take(int from, transport::Frame& frame);
  /// Blocks until something happened. missing(rank): whether that rank is waited for. Fails once such a rank is lost
  /// (naming it), or at the deadline (naming the process that stands still, or all missing ranks where that is not
  /// known). limit: the time from the wait's beginning to the deadline, for the error's text; 0: timeout().
  Status wait(Time deadline, const char* operation, const std::function<bool(int)>& missing, Duration limit = 0);
  /// Blocks until all that was sent has been written, or the deadline; 0: the timeout from now.
  Status flush(const char* operation, Time deadline = 0);
  /// Writes what goes now. Returns true when nothing is left for a rank that is still there. Works after a failure,
  /// too.
  bool try_flush();

  Status fail(Status why);
  const Status& failure() const { return failure_; }

 private:
  struct Inbox;
  struct Outbox;
  bool keep_one(int from);
  /// Stops polling a channel whose frames are not taken, since it would end every wait at once.
  void pause(int rank);
  void resume(int rank);
  /// Moves what waits here into the channel. Returns true when nothing waits, neither here nor there.
  Result<bool> flush_one(int to);
  bool writes_all(int to);  // also where the peer has gone

  int rank_;
  std::vector<std::unique_ptr<transport::Channel>> channels_;
  transport::Poller& poller_;
  Watch& watch_;
  Duration timeout_;
  std::vector<Inbox> inboxes_;
  std::vector<Outbox> outboxes_;
  int paused_ = 0;
  std::size_t posted_ = 0;  // messages in outboxes_
  Status failure_;
};

}  // namespace cohaul::collective
