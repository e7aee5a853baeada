#pragma once
// A loop over a data set: which samples a slice of a step has, and which fraction of the batch it is.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cohaul/data/data_set.h"
#include "cohaul/data/sampler.h"
#include "cohaul/train/trainer.h"
#include "cohaul/update/exchange.h"

namespace cohaul::train {

/// Returns the options with `epochs` converted to steps. samples: size of the data set; slices: of a batch. Errors: invalid, where the options are
/// wrong.
Result<FitOptions> resolve(FitOptions options, std::int64_t samples, int slices);

class SampleLoop {
 public:
  /// Begins a loop with step `first` of the trainer. options: resolved. more_facts: further facts that all workers must have alike. `set` must
  /// outlive the loop.
  void begin(const data::DataSet& set, const FitOptions& options, std::uint64_t seed, std::int64_t first,
             const std::string& more_facts);
  /// Continues a loop from a checkpoint, after begin(): it began with step `first`, and its next step is `start`. ended: no step of it is left.
  void go_on(std::int64_t first, std::int64_t start, bool ended);
  /// Sets how many updates had been done before the engine's first step.
  void set_offset(std::int64_t updates) { offset_ = updates; }
  void end() { set_ = nullptr; }
  bool running() const { return set_ != nullptr; }

  /// Returns the number of the loop that was begun last, from 1; 0: none was.
  std::int64_t number() const { return number_; }
  const FitOptions& options() const { return options_; }
  /// Returns the bounds of the current round in the engine's count.
  update::Loop bounds() const;
  /// Begins a round: an asynchronous loop with checkpoints consists of several loops of the engine, so that no step is under way between them. The
  /// next one has updates [first, last).
  void begin_round(std::int64_t first, std::int64_t last);
  /// Returns the number of the round, from 1, over all loops.
  std::int64_t round() const { return round_; }
  std::int64_t round_last() const { return round_last_; }
  /// Returns whether it is the loop's first step in this run of the program. The workers' facts are compared with it.
  bool is_first(std::int64_t step) const { return step == start_; }
  const std::string& facts() const { return facts_; }
  std::int64_t first() const { return first_; }
  std::int64_t start() const { return start_; }
  std::int64_t last() const { return last_; }

  /// Returns the samples of a slice of update `step`. Seeds torch's generator from (seed, step, slice), so the random numbers do not depend on the
  /// worker.
  data::Batch batch(std::int64_t step, std::int32_t slices, std::int32_t slice);
  /// Returns which fraction of the batch the slice is.
  double weight(std::int32_t slice, std::int32_t count) const;

 private:
  const data::DataSet* set_ = nullptr;
  FitOptions options_;
  std::string facts_;
  std::optional<data::Sampler> sampler_;
  std::vector<std::int64_t> indices_;
  std::uint64_t seed_ = 0;
  std::int64_t first_ = 0, start_ = 0, last_ = 0, offset_ = 0, number_ = 0;
  std::int64_t round_ = 0, round_first_ = 0, round_last_ = 0;
};

}  // namespace cohaul::train
