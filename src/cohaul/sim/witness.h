#pragma once
// Witness: sees every message that servers send and everything that workers look at, keeps its own account, and says which promise
// of the parameter server was broken. It shares no code with what it watches.

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/sim/scenario.h"
#include "cohaul/sim/worker.h"
#include "cohaul/transport/channel.h"

namespace cohaul::sim {

class Witness {
 public:
  Witness(const Scenario& scenario, const update::Layout& layout);

  /// A server (or the coordinator) says something to a worker. `workers`: as they are at this moment.
  void on_sent(std::int32_t to, const transport::Message& message, const std::vector<std::unique_ptr<Worker>>& workers);
  /// A worker has pulled everything and is about to compute on it.
  void on_look(const Worker& worker, const std::vector<std::unique_ptr<Worker>>& workers);
  void on_death(std::int32_t worker);
  /// Nothing happens any more. tables, coordinator: what they counted.
  void at_end(const std::vector<std::unique_ptr<Worker>>& workers, const ps::Stats& tables,
              const ps::Stats& coordinator);

  /// ok, or the first broken promise.
  const Status& verdict() const { return verdict_; }

 private:
  struct Applied {
    std::int32_t worker;
    std::int64_t clock, version;
  };
  bool is_sync() const { return scenario_.consistency.kind == ps::Consistency::Kind::sync; }
  void broken(const std::string& promise);
  void on_grant(std::int32_t to, std::int64_t clock, Step step, const std::vector<std::unique_ptr<Worker>>& workers);
  void on_ack(std::int32_t to, const transport::Message& message);
  void look_at_values(const Worker& worker);
  void look_at_visibility(const Worker& worker, const std::vector<std::unique_ptr<Worker>>& workers);
  void make_reference();

  const Scenario& scenario_;
  const update::Layout& layout_;
  Status verdict_;

  std::vector<std::vector<std::int64_t>> steps_of_;  // [worker][clock] → step number
  std::map<std::int64_t, std::int32_t> holder_;      // step number → who has it
  std::set<std::int32_t> dead_, finished_;
  std::vector<std::map<std::int64_t, Applied>> applied_;  // [partition][step]
  std::vector<std::vector<std::int64_t>> pulled_;         // [worker][partition] → version last sent to it
  std::int64_t staleness_sum_ = 0, staleness_max_ = 0, gap_max_ = 0;
  std::vector<std::vector<double>> reference_;  // synchronous: parameters after each step
};

}  // namespace cohaul::sim
