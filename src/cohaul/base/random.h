#pragma once
// Counter-based random numbers: the n-th number of a stream is a pure function of (seed, stream, n), so any process can
// draw any part of any stream. Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3"
// (SC 2011).

#include <array>
#include <cstdint>
#include <limits>

namespace cohaul {

/// Returns the four 32-bit words of one counter value under one key.
constexpr std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> c, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    std::uint64_t p0 = std::uint64_t{0xD2511F53} * c[0];
    std::uint64_t p1 = std::uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ key[0], static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return c;
}

/// A sequence of numbers of one (seed, stream). Satisfies UniformRandomBitGenerator. Not thread-safe; copy it instead.
class Random {
 public:
  using result_type = std::uint64_t;
  explicit constexpr Random(std::uint64_t seed, std::uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return std::numeric_limits<result_type>::max(); }

  constexpr result_type operator()() {
    if (half_ == 0) block_ = at(counter_);
    result_type out = half_ == 0 ? combine(block_[0], block_[1]) : combine(block_[2], block_[3]);
    counter_ += half_;
    half_ ^= 1;
    return out;
  }
  /// Returns a number uniform in [0, n), without bias. n > 0.
  constexpr std::uint64_t below(std::uint64_t n) {
    // Numbers whose lower half is under 2^64 mod n, which is less than n, are drawn again (Lemire, "Fast random integer generation in an interval", 2019).
    for (;;) {
      __extension__ using Wide = unsigned __int128;
      const Wide m = static_cast<Wide>((*this)()) * n;
      const auto low = static_cast<std::uint64_t>(m);
      if (low >= n || low >= (0 - n) % n) return static_cast<std::uint64_t>(m >> 64);
    }
  }
  /// Returns a number uniform in [0, 1), of 53 bits.
  constexpr double uniform() { return static_cast<double>((*this)() >> 11) * 0x1p-53; }

 private:
  static constexpr std::uint64_t combine(std::uint32_t lo, std::uint32_t hi) { return lo | std::uint64_t{hi} << 32; }
  constexpr std::array<std::uint32_t, 4> at(std::uint64_t n) const {
    return philox({static_cast<std::uint32_t>(n), static_cast<std::uint32_t>(n >> 32),
                   static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32)},
                  {static_cast<std::uint32_t>(seed_), static_cast<std::uint32_t>(seed_ >> 32)});
  }
  std::uint64_t seed_, stream_, counter_ = 0;
  unsigned half_ = 0;
  std::array<std::uint32_t, 4> block_{};
};

/// Returns one 64-bit seed out of several numbers (seed, step, slice), well mixed.
constexpr std::uint64_t mix_seed(std::uint64_t seed, std::uint64_t a, std::uint64_t b = 0) {
  auto w = philox({static_cast<std::uint32_t>(a), static_cast<std::uint32_t>(a >> 32), static_cast<std::uint32_t>(b),
                   static_cast<std::uint32_t>(b >> 32)},
                  {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  return w[0] | std::uint64_t{w[1]} << 32;
}

}  // namespace cohaul
