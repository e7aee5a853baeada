#pragma once
// What a run of a program says and leaves: equal to the bit at all workers and in all strategies, and equal to the reference up to
// rounding. Knows nothing of LibTorch.

#include <optional>
#include <string>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"

namespace cohaul::programs {

/// A number that the program sees on its way: a loss, a norm, an evaluation.
struct Observation {
  std::string label;
  double value = 0;
  bool everywhere = true;  // else worker 0 alone sees it
};

/// A parameter at the end.
struct Parameter {
  std::string name;
  bool float64 = true;
  std::vector<std::byte> bytes;  // contiguous
  bool moved = false;            // since the beginning
};

struct Outcome {
  Status status;  // of an error: what the program ended with
  std::vector<Observation> observations;
  std::vector<Parameter> parameters;

  std::vector<std::byte> encode() const;
  static Result<Outcome> decode(ConstBytes bytes);  // corrupt
};

/// The first difference, in words; nothing where there is none. By the bit: of one run to another. With a tolerance: relative to the size of
/// the values, or absolute where they are below 1. first: whether both are of worker 0.
std::optional<std::string> difference(const Outcome& expected, const Outcome& seen, std::optional<double> tolerance,
                                      bool first);
/// The largest absolute value of a parameter; infinite where one is not finite.
double largest(const Outcome& outcome);
/// The largest difference of two runs' parameters, as difference() measures it.
double error_of(const Outcome& expected, const Outcome& seen);

}  // namespace cohaul::programs
