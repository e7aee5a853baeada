#pragma once
// Witness: checks the promises of a parameter server. It sees every message that servers send, everything that workers receive and compute with,
// every fault and every decision, and keeps its own account of them. Synchronous results are compared bit by bit with those of one process that has
// all slices.

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/job/membership.h"
#include "cohaul/ps/messages.h"
#include "cohaul/sim/process.h"
#include "cohaul/sim/saving.h"
#include "cohaul/sim/scenario.h"
#include "cohaul/transport/channel.h"
#include "cohaul/update/exchange.h"

namespace cohaul::sim {

class Witness {
 public:
  Witness(const Scenario& scenario, const update::Layout& layout);

  /// A server (or the coordinator) sends a message to a worker.
  void on_sent(std::int32_t to, const transport::Message& message);
  void on_sent_to_lost(job::MemberKey by, std::int32_t worker);
  void on_refused(job::MemberKey by, std::int32_t worker, const Status& why);
  void on_heard(std::int32_t worker, const transport::Frame& frame);
  /// Asynchronous: a worker has decided not to apply its step.
  void on_skipped(std::int32_t worker, Step step);

  struct Look {
    std::int32_t worker;
    std::span<const double> parameters;
    update::StepOutcome outcome;  // of the step before
    bool is_over;                 // the loop is over
    bool is_last;                 // nothing is left to do
  };
  /// A worker has pulled everything, and is about to compute with it or to end.
  void on_look(const Look& look);

  /// A process wants to run at once, again and again.
  void on_spinning() { broken("somebody spins instead of waiting"); }
  void on_fault(const Fault& fault, Time now);
  /// A process has failed by itself. (How it ends after it was told of a loss is not judged.)
  void on_failed(const Process& process, Time now);
  void on_decision(const job::Decision& decision, Time now);
  /// A checkpoint is complete.
  void on_committed(const Saving& saving);
  /// The simulation has ended. tables, coordinator: what they have counted.
  void at_end(const std::vector<const Process*>& processes, const ps::Stats& tables, const ps::Stats& coordinator);

  bool left_early() const { return left_early_; }
  std::int64_t skipped() const { return static_cast<std::int64_t>(skipped_.size()); }
  /// Returns ok, or the first broken promise.
  const Status& verdict() const { return verdict_; }

 private:
  struct Applied {
    std::int32_t worker;
    std::int64_t clock, version;
  };
  struct Worker {
    std::vector<std::int64_t> steps;           // by clock: the step number
    std::int64_t clock = 0;                    // number of its pushes that all partitions have acknowledged to it
    std::set<std::uint64_t> acknowledged;      // partitions that have acknowledged push `clock`
    std::vector<std::int64_t> sent, versions;  // by partition: the last version sent to it, the last that it received
    bool is_given_up = false, finished = false;
  };
  void broken(const std::string& promise);
  void on_grant(std::int32_t to, std::int64_t clock, std::int64_t step);
  void on_left(std::int32_t to, std::int64_t clock);
  void on_ack(std::int32_t to, const transport::Message& message);
  void look_at_sum(const Look& look);
  void look_at_reference(const Look& look);
  void look_at_visibility(const Look& look);
  bool sees(const Worker& worker, std::int64_t step) const;
  void check_end_in_time(const Process& process, Time now);
  void check_ends(const std::vector<const Process*>& processes);
  void check_counts(const ps::Stats& tables, const ps::Stats& coordinator);
  void make_reference();

  const Scenario& scenario_;
  const update::Layout& layout_;
  Status verdict_;

  std::vector<Worker> workers_;
  std::map<std::int64_t, std::int32_t> holder_;           // by step number: the worker that has it
  std::vector<std::map<std::int64_t, Applied>> applied_;  // [partition][step]
  std::set<std::int64_t> skipped_;                        // step numbers
  bool left_early_ = false;
  std::int64_t gap_max_ = 0;
  std::vector<std::vector<double>> reference_;  // synchronous: parameters after each step
  std::vector<update::StepOutcome> reference_outcomes_;

  std::map<job::MemberKey, Fault> culprits_;  // members with a fatal fault; `at`: when it happened
  bool assembled_ = false, finished_ = false, someone_failed_ = false;
  std::optional<job::Loss> loss_;
  Time decided_at_ = kForever;  // when the loss was decided
};

}  // namespace cohaul::sim
