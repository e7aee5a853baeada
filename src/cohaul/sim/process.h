#pragma once
// A process of the simulated job: its connection to the rendezvous, its faults and its end. Subclasses do the process's own work.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cohaul/sim/heart.h"
#include "cohaul/sim/scenario.h"

namespace cohaul::sim {

/// It acts only in turn(), when something has come or is due, like a real process after Poller::wait(). It joins, works and leaves as in job/job.cpp.
class Process {
 public:
  enum class State : std::uint8_t { running, done, failed, killed };

  /// The scenario must outlive it.
  Process(job::MemberKey who, Heart heart, const Scenario& scenario)
      : scenario_(scenario), who_(who), heart_(std::move(heart)) {}
  virtual ~Process() = default;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void turn(Time now);
  /// Returns when it must run next, even if nothing comes.
  Time next_time() const;

  void kill() { end(State::killed); }
  void stop(Time until) { stopped_until_ = until; }
  virtual void slow_down(Duration) {}
  /// Returns its end of the connection to a server or worker, or to the launcher (Fault::kLauncher). Null: closed.
  transport::Channel* road(std::int32_t peer);
  std::vector<transport::Channel*> roads();

  job::MemberKey who() const { return who_; }
  State state() const { return state_; }
  bool is_stopped_for_good() const { return state_ == State::running && stopped_until_ == kForever; }
  /// Returns why it failed.
  const Status& failure() const { return failure_; }
  virtual std::string waits_for() const = 0;
  const Heart& heart() const { return heart_; }

 protected:
  virtual void work(Time now) = 0;
  virtual Time next_work() const { return kForever; }
  /// Returns whether it is computing. Then it handles no messages, so a loss cannot end it from within.
  virtual bool is_computing(Time) const { return false; }
  /// Returns the member that it joins as.
  virtual job::Member as_member() const;
  /// Returns whether the list has the members that this process must know.
  virtual bool knows(const std::vector<job::Member>& members) const;
  /// Returns whether it has said goodbye to its peers.
  virtual bool is_finished() const = 0;
  /// Returns its connections to peers; null where closed.
  virtual std::vector<std::unique_ptr<transport::Channel>*> links() = 0;

  /// Fails: the process reports the reason, and ends when the launcher has received it.
  void fail(Status why) { failure_ = std::move(why); }

  job::MemberSession& session() { return heart_.session(); }
  const job::MemberSession& session() const { return heart_.session(); }

  const Scenario& scenario_;

 private:
  enum class Stage : std::uint8_t { starting, joining, working, leaving, failing };

  void go_on(Time now);
  void answered(const Result<std::string>& answer);
  /// Returns the loss because of which it ends, if there is one.
  const job::Loss* end_of_job() const;
  void ask(job::ControlMessage message, Duration timeout, Stage stage, Time now);
  void end(State how);

  const job::MemberKey who_;
  Heart heart_;
  State state_ = State::running;
  Stage stage_ = Stage::starting;
  std::int64_t request_ = 0;  // the request whose answer it waits for; 0: none
  Time stopped_until_ = 0;
  Status failure_;
};

}  // namespace cohaul::sim
