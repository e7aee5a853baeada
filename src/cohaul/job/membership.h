#pragma once
// Membership: which processes belong to the job, are missing or are lost, and why. A state machine without I/O and without a
// clock: events go in with their time, decisions come out. The rendezvous runs it on sockets, the simulator as it is.
//
// One fault shows itself in many ways: a killed worker closes its connections, its peers then fail because of that, and
// only afterwards does the launcher learn of the signal. So evidence is ranked (a signal before a closed connection
// before "I lost a peer"), and weaker evidence waits kEvidenceGrace for a stronger one before it is believed.

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/base/exit_code.h"
#include "cohaul/base/status.h"
#include "cohaul/job/member.h"

namespace cohaul::job {

/// How a process ended.
struct ProcessExit {
  bool by_signal = false;
  int code = 0;       // exit code, or the signal's number
  std::string why{};  // what is known of the cause; empty: nothing
  /// "killed by signal 9 (SIGKILL)", "exited with code 1", with a colon and the cause where it is known
  std::string text() const;
};

/// Returns the exit code of the job for a process that ended so: 2 the user's mistake, 3 lost, 1 anything else.
int job_exit_code(const ProcessExit& exit);

/// The first failure of a job.
struct Loss {
  MemberKey who;
  std::string how;          // "killed by signal 9 (SIGKILL)", "no heartbeat for 2.0 s"
  std::string operation{};  // its last one, as its heartbeat told; empty: never heard of
  int exit_code = kLost;    // of the job
  bool reported = false;    // by the process itself, which ends by itself
  std::string place{};      // "pid 4711 on node1"; empty: it has not joined
  /// "worker 2: killed by signal 9 (SIGKILL); last operation: step 17; pid 4711 on node1"
  std::string message() const;
  Status status() const { return peer_lost(message()); }
};

struct Decision {
  enum class Kind { assembled, lost, finished } kind;
  Loss loss{};             // of lost
  bool committed = false;  // of finished: by a member that had committed, so how the others end does not matter
  std::string stopped{};   // of finished: what worker 0 has said under kStoppedKey; empty: nothing
};

class Membership {
 public:
  struct Options {
    int workers = 1, servers = 0;
    Duration peer_timeout = 10 * kSecond, join_timeout = 60 * kSecond;
    bool must_join = true;  // false: programs need not join; the time to join runs from the first that does
    MemberKey host{transport::Role::launcher, 0};  // where this runs
  };
  static constexpr Duration kEvidenceGrace = 300 * kMillisecond;

  Membership(const Options& options, Time now);

  // Events. Those of an unknown member have no effect.
  /// Takes a member in. invalid: no such rank, or taken (two processes of one rank).
  Status join(const Member& member, Time now);
  /// Tells that a process which cannot belong to this job wants to join. Unless all have joined, that is the job's
  /// loss, since the others would wait for another in vain.
  void misfit(MemberKey who, const Status& why, Time now);
  /// busy: how long ago it last waited for others; 0: it waits.
  void heartbeat(MemberKey who, std::string operation, Duration busy, Time now);
  /// Takes a goodbye: the member's end is no loss from now on.
  void leave(MemberKey who);
  /// Lets a member complete the job alone: from now on the others' fate is no loss, and its goodbye finishes the job.
  /// peer_lost: the loss that came before.
  Status commit(MemberKey who);
  /// Takes a member's own report that it fails. peer_lost: because of another.
  void fail(MemberKey who, const Status& why, Time now);
  /// Takes a member's report that its wait of `waited` for others has reached its deadline. The member that has
  /// computed for the longest, and for at least half of that time, stands still. Returns peer_lost: that one, or one
  /// lost before; ok: none stands out.
  Status overdue(MemberKey who, Duration waited, Time now);
  void disconnect(MemberKey who, Time now);
  void exit(MemberKey who, const ProcessExit& how, Time now);

  /// Returns what is decided now, in order. After `lost` or `finished` nothing more is decided. Call it after events, and at next_decision() at
  /// the latest: a longer silence of the caller counts as its own standstill, not as the members'.
  std::vector<Decision> decide(Time now);
  Time next_decision() const;

  const Options& options() const { return options_; }
  bool assembled() const { return assembled_; }
  bool finished() const { return finished_; }
  const std::optional<Loss>& loss() const { return loss_; }
  /// Returns whether it has joined and not left.
  bool present(MemberKey who) const;
  /// Returns its last operation, as its heartbeat told; empty: never heard of.
  std::string operation(MemberKey who) const;
  /// Returns whether every member has left, has never joined, or was lost after a commit.
  bool all_gone() const;
  /// Workers by rank, then servers by rank.
  std::vector<Member> members() const;
  std::string missing() const;  // "worker 1, server 0"

 private:
  struct Evidence {
    int rank = 0;  // 0 strongest
    Time at = 0;
    Loss loss;
  };
  struct State {
    std::optional<Member> member;
    Time heard = 0;
    Time busy_since = kForever;
    std::string operation;
    bool left = false, gone = false, secondary = false;
    bool given_up = false;  // lost after a commit, when that mattered no more
  };

  std::string place_of(MemberKey who) const;
  void accuse(MemberKey who, int rank, std::string how, int exit_code, Time now, bool reported = false);
  void notice_standstill(Time now);
  void notice_silence(Time now);
  void notice_missing(Time now);
  bool workers_done() const;
  /// Returns whether its silence would be a loss.
  static bool is_watched(const State& s) { return s.member && !s.left && !s.gone && !s.given_up; }
  /// Returns whether no process waits for it.
  static bool is_done(const State& s) { return s.left || (s.gone && !s.member); }
  void count(MemberKey who, const State& s, int by);

  Options options_;
  std::map<MemberKey, State> states_;
  // Counts over the states, so that an event need not look at all of them:
  int to_join_ = 0;              // members
  int workers_at_work_ = 0;      // that are not done
  int gone_before_joining_ = 0;  // members
  Time silent_at_ = kForever;    // before this time no silence is a loss
  std::vector<Evidence> evidence_;
  std::optional<Loss> loss_;
  std::optional<MemberKey> committed_;
  std::optional<Time> join_deadline_;
  Time last_decision_;
  bool assembled_ = false, finished_ = false, anyone_joined_ = false;
};

}  // namespace cohaul::job
