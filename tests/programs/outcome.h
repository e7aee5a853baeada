#pragma once
// The outcome of a program's run: equal to the bit at all workers and in all strategies, and equal to the reference up to rounding. It does not use
// LibTorch.

#include <optional>
#include <string>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"

namespace cohaul::programs {

/// A number that the program sees while it runs: a loss, a norm, an evaluation.
struct Observation {
  std::string label;
  double value = 0;
  bool everywhere = true;  // false: only worker 0 sees it
};

/// A parameter at the end of the run.
struct Parameter {
  std::string name;
  bool float64 = true;
  std::vector<std::byte> bytes;  // contiguous
  bool moved = false;            // it has changed since the beginning
};

struct Outcome {
  Status status;  // the error with which the program ended, if any
  std::vector<Observation> observations;
  std::vector<Parameter> parameters;

  std::vector<std::byte> encode() const;
  static Result<Outcome> decode(ConstBytes bytes);  // corrupt
};

/// Returns the first difference in words; nothing if there is none. Without a tolerance the outcomes are compared bit by bit. A tolerance is relative
/// to the values, or absolute where they are below 1. first: both outcomes are worker 0's.
std::optional<std::string> difference(const Outcome& expected, const Outcome& seen, std::optional<double> tolerance,
                                      bool first);
/// Returns the largest absolute value of a parameter; infinite if one is not finite.
double largest(const Outcome& outcome);
/// Returns the largest difference of two runs' parameters, as difference() measures it.
double error_of(const Outcome& expected, const Outcome& seen);

}  // namespace cohaul::programs
