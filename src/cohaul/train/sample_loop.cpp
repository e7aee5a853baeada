#include "cohaul/train/sample_loop.h"

#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>

#include "cohaul/base/random.h"
#include "cohaul/train/job_facts.h"

namespace cohaul::train {

Result<FitOptions> resolve(FitOptions options, std::int64_t samples, int slices) {
  if (samples < 1) return invalid("the data set is empty");
  if (options.batch < 1) return invalid("batch = " + std::to_string(options.batch) + ": it must be at least 1");
  if (slices > options.batch)
    return invalid(std::to_string(slices) + " slices, but a batch of " + std::to_string(options.batch) +
                   " samples: slices must be ≤ batch");
  if (options.steps < 0 || options.epochs < 0 || (options.steps > 0) == (options.epochs > 0))
    return invalid("give either steps or epochs, one of them and at least 1");
  if (options.log_every < 1)
    return invalid("log_every = " + std::to_string(options.log_every) +
                   ": it must be at least 1 step between two losses");
  const CheckpointOptions& c = options.checkpoint;
  if (c.every < 0 || !(c.every_s >= 0) || c.keep < 1)
    return invalid("FitOptions::checkpoint: every and every_s must not be below 0, and keep must be at least 1");
  if (options.epochs > 0) {
    std::int64_t drawn = 0;
    if (__builtin_mul_overflow(options.epochs, samples, &drawn)) return invalid("so many epochs cannot be counted");
    options.steps = drawn / options.batch + (drawn % options.batch != 0);
    options.epochs = 0;
  }
  return options;
}

void SampleLoop::begin(const data::DataSet& set, const FitOptions& options, std::uint64_t seed, std::int64_t first,
                       const std::string& more_facts) {
  set_ = &set;
  options_ = options;
  facts_ = loop_facts(number_, options, set) + more_facts;
  sampler_.emplace(data::SamplerOptions{set.size(), options.batch, options.shuffle, seed});
  seed_ = seed;
  first_ = start_ = first;
  last_ = first + options.steps;
  ++number_;
  begin_round(start_, last_);
}

void SampleLoop::begin_round(std::int64_t first, std::int64_t last) {
  ++round_;
  round_first_ = first;
  round_last_ = last;
}

void SampleLoop::go_on(std::int64_t first, std::int64_t start, bool ended) {
  first_ = first;
  start_ = start;
  last_ = ended ? start : std::max(first + options_.steps, start);
  round_first_ = start_;
  round_last_ = last_;
}

update::Loop SampleLoop::bounds() const {
  return {round_first_ - offset_, round_last_ - offset_, options_.log_every, round_ - 1, facts_};
}

data::Batch SampleLoop::batch(std::int64_t step, std::int32_t slices, std::int32_t slice) {
  const data::Slice positions = data::slice_of(options_.batch, slices, slice);
  indices_.resize(static_cast<std::size_t>(positions.size()));
  sampler_->indices(step, positions, indices_);
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  generator.set_current_seed(mix_seed(seed_, static_cast<std::uint64_t>(step), static_cast<std::uint64_t>(slice)));
  return set_->get(indices_);
}

double SampleLoop::weight(std::int32_t slice, std::int32_t count) const {
  return static_cast<double>(data::slice_of(options_.batch, count, slice).size()) / static_cast<double>(options_.batch);
}

}  // namespace cohaul::train
