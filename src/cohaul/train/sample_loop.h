#pragma once
// One loop over a data set: which samples a slice of a step takes, and what share of the batch it is.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cohaul/data/data_set.h"
#include "cohaul/data/sampler.h"
#include "cohaul/train/trainer.h"
#include "cohaul/update/exchange.h"

namespace cohaul::train {

/// What is wrong with the options, or those with the steps that `epochs` means. samples: of the data set; slices: of a batch.
Result<FitOptions> resolve(FitOptions options, std::int64_t samples, int slices);

class SampleLoop {
 public:
  /// A loop begins with step `first` of the trainer. options: resolved. more_facts: that all workers must agree on when it begins. `set` outlives
  /// the loop.
  void begin(const data::DataSet& set, const FitOptions& options, std::uint64_t seed, std::int64_t first,
             const std::string& more_facts);
  /// After begin(): the loop began with step `first`, and its next one is `start`. ended: nothing is left of it.
  void go_on(std::int64_t first, std::int64_t start, bool ended);
  /// So many updates were done before the engine's first step.
  void set_offset(std::int64_t updates) { offset_ = updates; }
  void end() { set_ = nullptr; }
  bool running() const { return set_ != nullptr; }

  /// Of the last loop that was begun, from 1; 0: none was.
  std::int64_t number() const { return number_; }
  const FitOptions& options() const { return options_; }
  /// The engine's loop, as the engine counts: the round that runs.
  update::Loop bounds() const;
  /// Asynchronous loops with checkpoints are several of the engine's, between which everything is at rest: the next is of updates [first, last).
  void begin_round(std::int64_t first, std::int64_t last);
  /// From 1, over all loops.
  std::int64_t round() const { return round_; }
  std::int64_t round_last() const { return round_last_; }
  /// The first step in this run: facts are compared with it.
  bool is_first(std::int64_t step) const { return step == start_; }
  const std::string& facts() const { return facts_; }
  std::int64_t first() const { return first_; }
  std::int64_t start() const { return start_; }
  std::int64_t last() const { return last_; }

  /// The samples of a slice of update `step`. Seeds torch's generator from (seed, step, slice), so that any worker draws alike.
  data::Batch batch(std::int64_t step, std::int32_t slices, std::int32_t slice);
  /// Fraction of the batch that the slice is.
  double share(std::int32_t slice, std::int32_t count) const;

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
