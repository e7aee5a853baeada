#pragma once
// MemberSession: a member's side of the rendezvous. A state machine without I/O, threads and clock: ControlClient runs it on
// a thread of its own, the simulator runs the same class. Calls of the process and messages of the rendezvous go in with their
// time; messages, answers to calls, news, the loss and the end of the process come out.

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/base/status.h"
#include "cohaul/job/control.h"
#include "cohaul/job/meeting.h"
#include "cohaul/job/membership.h"

namespace cohaul::job {

class MemberSession {
 public:
  struct Options {
    MemberKey host{transport::Role::launcher,
                   0};  // the process that runs the rendezvous: lost when it is silent or closes
    Duration peer_timeout = 10 * kSecond;
  };
  /// How long after a loss the process may take to end by itself.
  static constexpr Duration kEndGrace = 3 * kSecond;
  /// How long after a message's own timeout its call is given up. The rendezvous answers before, and knows better
  /// what is missing.
  static constexpr Duration kAnswerGrace = kSecond;
  /// Stands for "it waits", in the place of the time since when a process has not waited.
  static constexpr Time kWaits = kForever;

  MemberSession(const Options& options, Time now)
      : options_(options),
        interval_(heartbeat_interval(options.peer_timeout)),
        began_(now),
        heard_(now),
        next_heartbeat_(now) {}

  // Calls of the process:
  /// Sends a request. Returns its number, for the two below; each call is answered once.
  std::int64_t call(ControlMessage message, Time now);
  /// Returns the reply's value, or its Status; peer_lost: the loss, or no reply until the call's deadline. Returns
  /// nothing while the caller should wait, until deadline_of().
  std::optional<Result<std::string>> take_answer(std::int64_t request, Time now);
  Time deadline_of(std::int64_t request) const { return calls_.at(request).deadline; }
  /// Sends a request whose reply is not waited for.
  void post(ControlMessage message);
  /// Tells that this worker has come through a meeting with all others. Older news of workers that wait there are
  /// dropped.
  void met(const Meeting& meeting);

  // Calls for what comes from outside:
  void received(ControlMessage message, Time now);
  /// Tells that the connection to the rendezvous is gone, and so is its host. how: how that showed.
  void disconnected(std::string how, Time now);
  /// Takes a loss. Only the first one counts.
  void lose(Loss loss, Time now);

  /// Sends what is due. Call it when all that has come was received, after events, and at next_time() at the latest.
  /// busy_since: when the process last waited for others, kWaits: it waits now; operation: its last one.
  void advance(Time busy_since, const std::string& operation, Time now);
  Time next_time() const;
  std::vector<ControlMessage> take_outgoing() { return std::exchange(outgoing_, {}); }

  // What the session knows:
  /// Returns false once it has given the connection up, or has heard of its end.
  bool connected() const { return connected_; }
  const std::optional<Loss>& loss() const { return loss_; }
  Status health() const { return loss_ ? loss_->status() : Status{}; }
  /// When the process is to be ended, if it has not ended by itself.
  Time ends_at() const { return ends_at_; }
  /// As Job has them. Without news both are ok.
  Status absent(const std::string& group, std::int64_t meetings, std::int64_t step) const;
  Status left(int worker) const;
  bool has_news() const { return !waits_.empty() || !left_.empty(); }
  /// Returns whether a loss, or news for absent() and left(), has come since the last call. Threads that wait for
  /// others must then look.
  bool take_alarm() { return std::exchange(alarm_, false); }

  /// Returns how often it shows that it lives.
  static Duration heartbeat_interval(Duration peer_timeout);

 private:
  struct Call {
    std::string key;  // what it asked for
    Time deadline = 0;
    std::optional<ControlMessage> reply;
  };
  void send(ControlMessage message);
  void lose_host(std::string how, Time now) { lose({options_.host, std::move(how), "", kLost, false, ""}, now); }

  const Options options_;
  const Duration interval_;
  bool connected_ = true;
  Time began_, heard_, next_heartbeat_;
  Time ends_at_ = kForever;
  std::optional<Loss> loss_;
  bool alarm_ = false;
  std::int64_t last_request_ = 0;
  std::map<std::int64_t, Call> calls_;
  std::vector<ControlMessage> outgoing_;
  std::map<std::pair<std::string, int>, Meeting> waits_;  // by group and worker: the latest meeting at which it waited
  std::set<int> left_;                                    // workers
};

}  // namespace cohaul::job
