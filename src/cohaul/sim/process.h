#pragma once
// A process of the simulated job: its part in the rendezvous, its faults, its end. What it does for the job is its subclass's.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cohaul/sim/heart.h"
#include "cohaul/sim/scenario.h"

namespace cohaul::sim {

/// Acts only in turn(), when something has come or is due, as a real one after Poller::wait(). Joins, works, and leaves as job/job.cpp does.
class Process {
 public:
  enum class State : std::uint8_t { running, done, failed, killed };

  /// The scenario outlives it.
  Process(job::MemberKey who, Heart heart, const Scenario& scenario)
      : scenario_(scenario), who_(who), heart_(std::move(heart)) {}
  virtual ~Process() = default;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void turn(Time now);
  /// When it must have its next turn, even if nothing comes.
  Time next_time() const;

  void kill() { end(State::killed); }
  void stop(Time until) { stopped_until_ = until; }
  virtual void slow_down(Duration) {}
  /// Its end of a connection: to a server or worker, or to the launcher (Fault::kLauncher). Null: closed.
  transport::Channel* road(std::int32_t peer);
  std::vector<transport::Channel*> roads();

  job::MemberKey who() const { return who_; }
  State state() const { return state_; }
  bool is_stopped_for_good() const { return state_ == State::running && stopped_until_ == kForever; }
  /// Why it failed.
  const Status& failure() const { return failure_; }
  virtual std::string waits_for() const = 0;
  const Heart& heart() const { return heart_; }

 protected:
  virtual void work(Time now) = 0;
  virtual Time next_work() const { return kForever; }
  /// It looks at nothing until it has computed, so a loss can end it only from outside.
  virtual bool is_computing(Time) const { return false; }
  /// As it joins.
  virtual job::Member as_member() const;
  /// These are the members that it is to know.
  virtual bool knows(const std::vector<job::Member>& members) const;
  /// It has said its goodbyes to its peers.
  virtual bool is_finished() const = 0;
  /// Its connections to peers; null where closed.
  virtual std::vector<std::unique_ptr<transport::Channel>*> links() = 0;

  /// It says why, and ends when that was heard.
  void fail(Status why) { failure_ = std::move(why); }

  job::MemberSession& session() { return heart_.session(); }
  const job::MemberSession& session() const { return heart_.session(); }

  const Scenario& scenario_;

 private:
  enum class Stage : std::uint8_t { starting, joining, working, leaving, failing };

  void go_on(Time now);
  void answered(const Result<std::string>& answer);
  /// The loss that it ends with, if there is one.
  const job::Loss* end_of_job() const;
  void ask(job::ControlMessage message, Duration timeout, Stage stage, Time now);
  void end(State how);

  const job::MemberKey who_;
  Heart heart_;
  State state_ = State::running;
  Stage stage_ = Stage::starting;
  std::int64_t request_ = 0;  // for whose answer it waits; 0: none
  Time stopped_until_ = 0;
  Status failure_;
};

}  // namespace cohaul::sim
