#pragma once
// A process of the simulated job: its part in the rendezvous, its faults, its end. What it does for the job is its subclass's.

#include <string>
#include <vector>

#include "cohaul/sim/heart.h"

namespace cohaul::sim {

/// Acts only in turn(), when something has come or is due, as a real one after Poller::wait().
class Process {
 public:
  enum class State : std::uint8_t { running, done, failed, killed };

  /// goes_on: the loss of another worker does not end it.
  Process(job::MemberKey who, Heart heart, bool goes_on) : who_(who), heart_(std::move(heart)), goes_on_(goes_on) {}
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

 protected:
  virtual void work(Time now) = 0;
  virtual Time next_work() const { return kForever; }
  /// It has said its goodbyes to its peers.
  virtual bool is_finished() const = 0;
  /// Its connections to peers; null where closed.
  virtual std::vector<std::unique_ptr<transport::Channel>*> links() = 0;

  const Heart& heart() const { return heart_; }
  void fail(Status why);

 private:
  void end(State how);

  const job::MemberKey who_;
  Heart heart_;
  const bool goes_on_;
  State state_ = State::running;
  Time stopped_until_ = 0;
  Status failure_;
};

}  // namespace cohaul::sim
