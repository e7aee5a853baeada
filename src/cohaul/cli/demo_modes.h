#pragma once
// The modes that the demo compares, and the figures that it shows. Pure except for reading files.

#include <optional>
#include <string>
#include <vector>

#include "cohaul/base/status.h"

namespace cohaul::cli {

struct DemoMode {
  std::string name, sentence;
  int workers = 1, servers = 0;
  std::vector<std::string> sets;
};

/// Returns the six modes; the first has one process.
std::vector<DemoMode> demo_modes();

/// A run's figures for the table, read from its record.
struct DemoResult {
  double loss = 0, accuracy = 0, samples_per_s = 0;
  std::optional<double> staleness_mean, staleness_max;
};

/// Reads the result from a run's record. Errors: corrupt (it has no result).
Result<DemoResult> read_result(const std::string& record_file);

/// Compares two safetensors files. Returns the largest difference of an element, relative to the largest element of its tensor in `reference`.
/// Errors: invalid (unreadable), corrupt (other names or sizes, or not floats).
Result<double> largest_difference(const std::string& reference, const std::string& other);

}  // namespace cohaul::cli
