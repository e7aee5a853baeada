#pragma once
// What the demo runs, and what it shows of it. Pure but for reading files.

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

/// The six, one process first.
std::vector<DemoMode> demo_modes();

/// What the table says of a finished run, out of its record.
struct DemoResult {
  double loss = 0, accuracy = 0, samples_per_s = 0;
  std::optional<double> staleness_mean, staleness_max;
};

/// Errors: corrupt (no result in it).
Result<DemoResult> read_result(const std::string& record_file);

/// Of two safetensors files, the largest difference of an element relative to the largest element of its tensor in
/// `reference`. Errors: invalid (unreadable), corrupt (other names or sizes, or not floats).
Result<double> largest_difference(const std::string& reference, const std::string& other);

}  // namespace cohaul::cli
