#include "cohaul/data/sampler.h"

#include <numeric>
#include <utility>

#include "cohaul/base/check.h"
#include "cohaul/base/random.h"

namespace cohaul::data {
namespace {

__extension__ using Wide = __int128;

// Separates these random numbers from others with the same seed.
constexpr std::uint64_t kShuffleSeed = 0x73616d706c6572;

}  // namespace

Slice slice_of(std::int64_t batch, std::int64_t slices, std::int64_t v) {
  COHAUL_CHECK(0 <= v && v < slices && slices <= batch, "a slice of the batch");
  auto cut = [&](std::int64_t k) { return static_cast<std::int64_t>(Wide{k} * batch / slices); };
  return {cut(v), cut(v + 1)};
}

Sampler::Sampler(const SamplerOptions& options) : options_(options) {
  COHAUL_CHECK(options.samples >= 1 && options.batch >= 1, "samples to draw");
}

void Sampler::indices(std::int64_t step, Slice slice, std::span<std::int64_t> out) {
  COHAUL_CHECK(step >= 0 && 0 <= slice.first && slice.first <= slice.last && slice.last <= options_.batch,
               "a slice of a batch");
  COHAUL_CHECK(out.size() == static_cast<std::size_t>(slice.size()), "a number for every position");
  Wide drawn = Wide{step} * options_.batch + slice.first;
  auto pass = static_cast<std::int64_t>(drawn / options_.samples);
  auto at = static_cast<std::int64_t>(drawn % options_.samples);
  for (std::size_t i = 0; i < out.size(); ++pass, at = 0) {
    const std::int64_t* order = options_.shuffle ? order_of(pass).data() : nullptr;
    for (; i < out.size() && at < options_.samples; ++i, ++at) out[i] = order ? order[at] : at;
  }
}

const std::vector<std::int64_t>& Sampler::order_of(std::int64_t number) {
  // Two passes are needed in turn by a step that crosses their boundary, and by asynchronous workers near it.
  Pass& pass = passes_[static_cast<std::size_t>(number % 2)];
  if (pass.number == number) return pass.order;
  pass.number = number;
  pass.order.resize(static_cast<std::size_t>(options_.samples));
  std::iota(pass.order.begin(), pass.order.end(), std::int64_t{0});
  Random random(mix_seed(options_.seed, kShuffleSeed), static_cast<std::uint64_t>(number));
  for (std::size_t i = pass.order.size(); i > 1; --i) std::swap(pass.order[i - 1], pass.order[random.below(i)]);
  return pass.order;
}

}  // namespace cohaul::data
