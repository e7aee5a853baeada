#pragma once
// Links: one rank's channels to all other ranks of a group, and the one place where a collective waits. Frames that come
// while another is waited for are kept in order, per peer.

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

  /// Queues; blocks only while the channel's queue is full. operation: a literal, for the error's text.
  Status send(int to, const transport::Message& message, const char* operation);
  /// Queues; never blocks: what a full channel does not take waits here until flushed, with a copy of its body. Its bound is the
  /// caller's. peer_lost, corrupt: nothing can be sent to this rank any more; not sticky here.
  Status post(int to, const transport::Message& message);
  /// The next frame from `from`. Blocks until it is there, or the timeout (peer_lost, naming rank and operation). higher_too:
  /// those of higher ranks are wanted next, so the loss of one that has sent none is found now.
  Result<transport::Frame> receive(int from, const char* operation, bool higher_too = false);
  /// Takes what has come, without waiting; of a peer that is not `waited` kKeptFramesMax frames at most.
  Status drain(int waited = -1);
  /// The oldest frame from `from`, or null: none has come. It stays until take().
  const transport::Frame* next(int from);
  /// The oldest frame kept from `from`, if any; does not look at the channel.
  bool take(int from, transport::Frame& frame);
  /// Waits until something happened. missing(rank): whether he is waited for. Fails once such a one is lost (naming him), or at
  /// the deadline (naming who stands still; where that can't be told, all of them). limit: from the wait's beginning to the deadline, for
  /// the error's text; 0: timeout().
  Status wait(Time deadline, const char* operation, const std::function<bool(int)>& missing, Duration limit = 0);
  /// Blocks until all that was sent has been written, or the deadline; 0: the timeout from now.
  Status flush(const char* operation, Time deadline = 0);
  /// Writes what goes now. True: nothing is left for a rank that is still there. Also after a failure.
  bool try_flush();

  Status fail(Status why);
  const Status& failure() const { return failure_; }

 private:
  struct Inbox;
  struct Outbox;
  bool keep_one(int from);
  /// A channel whose frames are not taken is not polled either: it would wake everyone at once, again and again.
  void pause(int rank);
  void resume(int rank);
  /// Moves what waits here into the channel. True: nothing waits, neither here nor there.
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
