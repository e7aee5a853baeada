#pragma once
// Rendezvous: where the members of a job meet. It joins Membership, Store and Meetings: messages of connections go in
// with their time, messages to connections and decisions come out. No I/O, no clock; RendezvousHost runs it on
// sockets.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cohaul/job/control.h"
#include "cohaul/job/meetings.h"
#include "cohaul/job/membership.h"
#include "cohaul/job/store.h"

namespace cohaul::job {

class Rendezvous {
 public:
  /// Goodbyes are told to the others at most this often: the first at once, those that come meanwhile together.
  static constexpr Duration kTellLeftEvery = 50 * kMillisecond;

  struct Outgoing {
    std::uint64_t connection;
    ControlMessage message;
  };

  Rendezvous(const Membership::Options& options, Time now)
      : membership_(options, now), store_(options.workers), meetings_(options.workers) {}

  /// Takes a connection whose peer has shown that it belongs to the job.
  void connected(std::uint64_t connection, MemberKey who);
  void received(std::uint64_t connection, const ControlMessage& message, Time now);
  void disconnected(std::uint64_t connection, Time now);
  /// Tells that a process which the launcher has started has ended.
  void exited(MemberKey who, const ProcessExit& how, Time now) { membership_.exit(who, how, now); }

  /// Decides what is due. Call after events and at next_time() at the latest.
  void advance(Time now);
  Time next_time() const;
  std::vector<Outgoing> take_outgoing();
  std::vector<Decision> take_decisions();
  const Membership& membership() const { return membership_; }

 private:
  struct Connection {
    MemberKey who;
    bool joined = false, answered = false;
    std::int64_t join_request = 0;
    std::string host_id{};
  };
  void join(std::uint64_t id, Connection& c, const ControlMessage& m, Time now);
  void welcome(std::uint64_t id, Connection& c);
  std::string welcome_for(const Connection& c);
  Status check_fit(MemberKey who, const ControlMessage& join) const;
  void meet(const Ticket& from, const ControlMessage& m, Time now, Duration timeout);
  void leave(const Ticket& from);
  void answer(std::vector<Answer> answers);
  void announce(const Loss& loss);
  void tell_of_goodbyes(Time now);
  /// Tells all members that have not left, but for this worker.
  void tell_others(int worker, const ControlMessage& message);

  Membership membership_;
  Store store_;
  Meetings meetings_;
  std::map<std::uint64_t, Connection> connections_;
  std::map<std::string, std::string> welcomes_;  // by host id, encoded; made when all are there
  std::vector<int> goodbyes_;                    // of workers, not yet told of
  Time tell_left_at_ = 0;                        // not before
  std::vector<Outgoing> outgoing_;
  std::vector<Decision> decisions_;
};

}  // namespace cohaul::job
