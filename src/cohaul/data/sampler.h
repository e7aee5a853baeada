#pragma once
// Which samples a step takes: a pure function of (seed, step, position), so that any process computes any slice of any step.
//
//   Position i of step s's batch is the (s·batch + i)-th drawn sample. The data is passed over again and again; pass p
//   draws in the order of the data, or shuffled by a permutation that (seed, p) alone give (Fisher–Yates).

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace cohaul::data {

/// Positions [first, last) of a batch.
struct Slice {
  std::int64_t first = 0, last = 0;
  std::int64_t size() const { return last - first; }
  bool operator==(const Slice&) const = default;
};

/// Slice v of a batch cut into `slices`: [⌊v·batch/slices⌋, ⌊(v+1)·batch/slices⌋). 0 ≤ v < slices ≤ batch.
Slice slice_of(std::int64_t batch, std::int64_t slices, std::int64_t v);

struct SamplerOptions {
  std::int64_t samples = 0;  // size of the data set, ≥ 1
  std::int64_t batch = 1;    // ≥ 1
  bool shuffle = true;
  std::uint64_t seed = 0;
};

/// Draws samples. Keeps the permutations of the last two passes (8 bytes a sample each); computing one takes about 30 ns a sample. Not thread-safe.
class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options);
  const SamplerOptions& options() const { return options_; }
  /// Writes the slice's sample numbers to `out`, which has slice.size() elements. step ≥ 0.
  void indices(std::int64_t step, Slice slice, std::span<std::int64_t> out);

 private:
  struct Pass {
    std::int64_t number = -1;
    std::vector<std::int64_t> order;
  };
  const std::vector<std::int64_t>& order_of(std::int64_t pass);

  SamplerOptions options_;
  std::array<Pass, 2> passes_;
};

}  // namespace cohaul::data
