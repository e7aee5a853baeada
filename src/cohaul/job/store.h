#pragma once
// The store and the barriers of a job: small values by name, written once; callers that meet. A state machine without
// I/O and clock, as membership is: requests go in with their time, answers come out.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/base/status.h"
#include "cohaul/job/member.h"

namespace cohaul::job {

/// Who waits for an answer: the caller's own numbers.
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

  /// Answers the setter, and all who wait for the key. invalid: set before, to another value; too large.
  void set(const Ticket& from, const std::string& key, std::string value);
  /// Answers when the key is there; peer_lost at the deadline.
  void get(const Ticket& from, const std::string& key, Time now, Duration timeout);
  /// Answers when `count` callers have come; peer_lost at the deadline, naming the workers who have not. invalid: others said another count.
  void barrier(const Ticket& from, const std::string& name, int count, Time now, Duration timeout);
  /// A caller is gone: it waits no more.
  void forget(std::uint64_t connection);
  /// Answers those whose deadline has passed.
  void expire(Time now);
  Time next_deadline() const;

  std::vector<Answer> take_answers();

 private:
  struct Waiting {
    Ticket ticket;
    Time deadline;
    Duration timeout;
  };
  struct Meeting {
    int count = 0;
    std::vector<Waiting> waiting;
  };
  std::string absent(const Meeting& meeting) const;

  int workers_;
  std::map<std::string, std::string> values_;
  std::map<std::string, std::vector<Waiting>> getters_;
  std::map<std::string, Meeting> meetings_;
  std::vector<Answer> answers_;
};

}  // namespace cohaul::job
