#pragma once
// The store and the barriers of a job: small values by name, written once, and barriers at which callers meet. A
// state machine without I/O and clock, as membership is: requests go in with their time, answers come out.

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/base/status.h"
#include "cohaul/job/member.h"

namespace cohaul::job {

/// Names a request that waits for an answer, by the caller's own numbers.
struct Ticket {
  std::uint64_t connection = 0;
  std::int64_t request = 0;
  MemberKey who;
};

struct Answer {
  Ticket to;
  Status status;
  std::string value;
};

class Store {
 public:
  explicit Store(int workers) : workers_(workers) {}

  /// Sets a value. Answers the setter, and all that wait for the key. invalid: set before, to another value; too
  /// large.
  void set(const Ticket& from, const std::string& key, std::string value);
  /// Answers when the key is there; peer_lost at the deadline; invalid when its setter is known and has left the job.
  void get(const Ticket& from, const std::string& key, Time now, Duration timeout,
           std::optional<MemberKey> setter = {});
  /// Answers with all of prefix0 … prefix(count − 1) (encode_values) when they are there; as get() otherwise. by_workers: each is set by the
  /// worker of its number.
  void gather(const Ticket& from, const std::string& prefix, int count, bool by_workers, Time now, Duration timeout);
  /// Returns the value; empty: it is not set.
  std::string value(const std::string& key) const;
  /// Answers when `count` callers have come; peer_lost at the deadline, naming the workers that have not. invalid:
  /// others said another count; or a worker that has not come to a barrier of all workers has left the job.
  void barrier(const Ticket& from, const std::string& name, int count, Time now, Duration timeout);
  /// Tells that a member has said goodbye to the job.
  void leave(MemberKey who);
  /// Tells that a caller is gone, so that it waits no more.
  void forget(std::uint64_t connection);
  /// Answers the callers whose deadline has passed.
  void expire(Time now);
  Time next_deadline() const { return deadlines_.empty() ? kForever : *deadlines_.begin(); }

  std::vector<Answer> take_answers();

 private:
  struct Waiting {
    Ticket ticket{};
    Time deadline = 0;
    Duration timeout = 0;
    std::optional<MemberKey> setter{};  // of the value that it waits for, if known
    // Of one that gathers:
    std::string prefix{};
    int count = 0, next = 0;  // values; which it waits for
    bool by_workers = false;
  };
  struct Barrier {
    int count = 0;
    std::vector<Waiting> waiting;
  };
  void await(const std::string& key, Waiting waiting);
  /// Takes its deadline out. With a verdict, answers it, too.
  void dismiss(const Waiting& waiting) { deadlines_.erase(deadlines_.find(waiting.deadline)); }
  void dismiss(const Waiting& waiting, const Status& verdict, std::string value = {});
  void go_on(Waiting gathers);
  /// Returns the workers that have not come to a barrier of all workers.
  std::vector<MemberKey> absent(const Barrier& barrier) const;
  Status missed_for_ever(const Barrier& barrier) const;
  static Status has_left(MemberKey who);

  int workers_;
  std::map<std::string, std::string> values_;
  std::map<std::string, std::vector<Waiting>> getters_;
  std::map<std::string, Barrier> barriers_;
  std::multiset<Time> deadlines_;  // of all callers that wait
  std::set<MemberKey> left_;
  std::vector<Answer> answers_;
};

}  // namespace cohaul::job
