#pragma once
// The meetings of a job's workers: which workers have come, whether all came for the same purpose, and which never
// will. A state machine without I/O and clock: arrivals go in with their time; answers, and news of workers that
// wait, come out.

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cohaul/job/meeting.h"
#include "cohaul/job/store.h"

namespace cohaul::job {

class Meetings {
 public:
  /// How long a worker waits before the others are told, so that ordinary meetings cost them nothing.
  static constexpr Duration kTellAfter = 200 * kMillisecond;

  explicit Meetings(int workers) : workers_(workers) {}

  /// Takes an arrival. Answers all workers that are there when all have come. invalid: as soon as two workers came
  /// for different purposes or with different facts, or a worker that has not come has left the job; it goes to all
  /// that are there and that come later. A worker that comes twice gets it alone.
  void meet(const Ticket& from, Meeting meeting, Time now, Duration timeout);
  /// Tells that a worker has said goodbye to the job.
  void leave(int worker);
  /// Tells that a caller is gone, so that it waits no more.
  void forget(std::uint64_t connection);
  /// Answers the workers whose deadline has passed (peer_lost), and makes news. last_operation: what a worker did
  /// last, as far as known.
  void expire(Time now, const std::function<std::string(MemberKey)>& last_operation);
  Time next_time() const;

  std::vector<Answer> take_answers() { return std::exchange(answers_, {}); }
  /// Returns, for each meeting, the worker that has waited for kTellAfter; and later one that has waited that long
  /// after fewer steps. A worker that waits for one of them in a step needs no further news.
  std::vector<Absence> take_absences() { return std::exchange(absences_, {}); }

 private:
  struct Arrival {
    Meeting meeting;
    Ticket ticket;
    bool waits = true;  // for its answer
    Time came_at = 0, deadline = 0;
    Duration timeout = 0;
  };
  struct Gathering {
    std::map<int, Arrival> came;  // by worker
    int waiting = 0;
    Time tell_at = kForever;        // when there may be news of workers that wait
    std::int64_t told = INT64_MAX;  // the fewest steps of a worker that was told of
    Status verdict;
    bool expects(int worker) const;
  };
  Status compare(const Gathering& gathering, int worker, const Meeting& meeting) const;
  Status missed_for_ever(const Gathering& gathering) const;
  void settle(Gathering& gathering);
  /// Ends its wait. Returns false where it did not wait.
  bool dismiss(Gathering& gathering, Arrival& arrival);
  void tell(Gathering& gathering, Time now);
  std::string waited_in_vain(const Gathering& gathering, const Arrival& arrival,
                             const std::function<std::string(MemberKey)>& last_operation) const;
  std::string whereabouts(int worker, const std::function<std::string(MemberKey)>& last_operation) const;

  int workers_;
  std::map<std::pair<std::string, std::int64_t>, Gathering> open_;  // by group and number
  std::map<std::string, std::int64_t> held_;                        // the last meeting of a group to which all came
  std::map<std::pair<std::string, int>, std::int64_t> progress_;    // by group and worker, as it said last
  std::multiset<Time> deadlines_;                                   // of all workers that wait
  std::set<int> left_;
  std::vector<Answer> answers_;
  std::vector<Absence> absences_;
};

}  // namespace cohaul::job
