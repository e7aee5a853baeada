#include "samples.h"

#include <ATen/ops/empty.h>

#include <numeric>
#include <stdexcept>
#include <vector>

#include "cohaul/base/random.h"

namespace cohaul::programs {
namespace {

// The sets use separate numbers, which differ from those of the parameters too.
constexpr std::int64_t kTestFirst = 1'000, kProbeFirst = 2'000, kOwnFirst = 10'000;

data::Batch consecutive(const Samples& samples) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(samples.size()));
  std::iota(all.begin(), all.end(), std::int64_t{0});
  return samples.get(all);
}

}  // namespace

data::Batch Samples::get(std::span<const std::int64_t> indices) const {
  const auto n = static_cast<std::int64_t>(indices.size());
  const std::int64_t columns = program_.width + kTokens;
  at::Tensor input = at::empty({n, columns}, at::kDouble), target = at::empty({n, program_.outputs}, at::kDouble);
  auto* x = input.mutable_data_ptr<double>();
  auto* y = target.mutable_data_ptr<double>();
  for (std::int64_t i : indices) {
    if (i < 0 || i >= size_) throw std::out_of_range("sample " + std::to_string(i) + " of " + std::to_string(size_));
    Random random(mix_seed(program_.seed, static_cast<std::uint64_t>(first_ + i)));
    for (int k = 0; k < program_.width; ++k) *x++ = 2 * random.uniform() - 1;
    for (int k = 0; k < kTokens; ++k) *x++ = static_cast<double>(random.below(kVocabulary));
    for (int k = 0; k < program_.outputs; ++k) *y++ = 2 * random.uniform() - 1;
  }
  if (!program_.float64) input = input.to(at::kFloat), target = target.to(at::kFloat);
  if (program_.classes) target = target.argmax(1);
  return {input, target};
}

Samples training_set(const Program& program) { return {program, 0, kSamples}; }
Samples test_set(const Program& program) { return {program, kTestFirst, kTestSamples}; }

data::Batch own_batch(const Program& program, const Place& place, int n) {
  return consecutive({program, kOwnFirst + 1'000 * place.step + 20 * place.slice, n});
}

data::Batch probe_batch(const Program& program, int step) { return consecutive({program, kProbeFirst + 10 * step, 4}); }

}  // namespace cohaul::programs
