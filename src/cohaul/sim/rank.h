#pragma once
// A rank's process in a simulated all-reduce: the real session, used as in collective/all_reduce_exchange.cpp, with a stub in place of the model.

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cohaul/base/random.h"
#include "cohaul/collective/rank_session.h"
#include "cohaul/sim/all_reduce.h"
#include "cohaul/transport/arena.h"
#include "cohaul/transport/channel.h"

namespace cohaul::sim {

/// The state that the ranks of one simulated job share.
struct RankWorld {
  const RankScenario& scenario;
  const update::Layout& layout;
  std::map<int, std::vector<double>> parameters;  // by host, if they are shared
  int arrived = 0, gone = 0;                      // number of ranks that have met to write; that have failed
  /// Called when a rank has new parameters, and the outcome of the step before. steps: done so far.
  virtual void on_look(int rank, std::int64_t steps, std::span<const double> parameters,
                       const update::StepOutcome* outcome) = 0;
  virtual void broken(const std::string& promise) = 0;

 protected:
  RankWorld(const RankScenario& s, const update::Layout& l) : scenario(s), layout(l) {
    // All ranks start with rank 0's parameters; those of the others must be overwritten.
    for (const int host : s.hosts) parameters[host].assign(l.bytes() / sizeof(double), host == s.hosts[0] ? 1.0 : -1e9);
  }
  ~RankWorld() = default;
};

/// It acts only in turn(), when something has come or is due.
class RankProcess final : collective::ToRanks {
 public:
  enum class State : std::uint8_t { running, done, failed, killed };

  RankProcess(RankWorld& world, int rank);
  /// Adds the connection to each other rank, in ascending order. All must be there before the first turn.
  void connected(int rank, std::unique_ptr<transport::Channel> channel);

  void turn(Time now);
  Time next_time() const;
  void kill() { end(State::killed); }
  void stop(Time until) { stopped_until_ = until, is_stopped_ = true; }
  void slow_down(Duration by) { slower_ = by; }
  std::vector<transport::Channel*> roads();

  State state() const { return state_; }
  const Status& failure() const { return failure_; }
  std::string describe() const;

 private:
  enum class Phase : std::uint8_t { joining, starting, computing, finishing, meeting, writing };
  struct Link {
    std::unique_ptr<transport::Channel> channel;
    Status lost;
  };
  void send(int to, const transport::Message& message) override;
  Status receive();
  Status may_wait() const;
  Status advance(Time now);
  Status begin(Time now);
  Status compute_one(Time now);
  Status write();
  void look(const update::StepOutcome* outcome);
  void end(State how);

  RankWorld& world_;
  const int rank_;
  Random random_;
  const update::SliceRange slices_;
  std::vector<double> own_;
  const std::span<double> parameters_;
  std::vector<double> seen_;  // the parameters that the model computes with
  transport::Arena arena_;    // for gradients, one flat area for each part
  std::span<double> gradients_;
  collective::RankSession session_;
  std::vector<Link> links_;  // by rank
  Phase phase_ = Phase::joining;
  State state_ = State::running;
  std::int64_t step_ = 0, sends_ = 0;
  bool written_ = false, is_stopped_ = false;
  bool ended_ = false;  // the step's end was sent with its last gradient
  std::vector<update::SliceRange> parts_;
  std::size_t pushed_ = 0;
  Time computed_at_ = 0, stopped_until_ = 0;
  Duration slower_ = 0;
  Status failure_;
};

}  // namespace cohaul::sim
