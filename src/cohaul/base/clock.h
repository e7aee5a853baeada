#pragma once
// Time is handed in: code asks a Clock and never the system. `steady_clock()` is the real one; the simulator has its
// own.

#include <cstdint>

namespace cohaul {

/// Nanoseconds since some fixed moment of one clock. Compare only times of the same clock.
using Time = std::int64_t;
/// Nanoseconds.
using Duration = std::int64_t;

constexpr Duration kMicrosecond = 1'000;
constexpr Duration kMillisecond = 1'000'000;
constexpr Duration kSecond = 1'000'000'000;
constexpr Duration seconds(double s) { return static_cast<Duration>(s * 1e9); }
constexpr Time kForever = INT64_MAX;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Time now() const = 0;
};

/// CLOCK_MONOTONIC. Any thread.
const Clock& steady_clock();

}  // namespace cohaul
