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
  void end() { set_ = nullptr; }
  bool running() const { return set_ != nullptr; }

  /// Of the last loop that was begun, from 1; 0: none was.
  std::int64_t number() const { return number_; }
  const FitOptions& options() const { return options_; }
  update::Loop bounds() const;
  /// The first step: facts are compared with it.
  bool is_first(std::int64_t step) const { return step == first_; }
  const std::string& facts() const { return facts_; }
  std::int64_t first() const { return first_; }
  std::int64_t last() const { return first_ + options_.steps; }

  /// The samples of a slice. Seeds torch's generator from (seed, step, slice), so that any worker draws alike.
  data::Batch batch(const update::Work& work, std::int32_t slice);
  /// Fraction of the batch that the slice is.
  double share(std::int32_t slice, std::int32_t count) const;

 private:
  const data::DataSet* set_ = nullptr;
  FitOptions options_;
  std::string facts_;
  std::optional<data::Sampler> sampler_;
  std::vector<std::int64_t> indices_;
  std::uint64_t seed_ = 0;
  std::int64_t first_ = 0, number_ = 0;
};

}  // namespace cohaul::train
