#pragma once
// Runs a program in many settings, and compares the outcomes with the reference and with each other.

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "jobs.h"

namespace cohaul::programs {

/// What is wrong with a program's run.
struct Fault {
  Setting setting;
  std::string what;
};

struct Verdict {
  std::optional<Fault> fault;
  bool refused = false;  // the fault is that Cohaul refuses the program
  bool idle = false;  // fewer than half of its parameters change, or it diverges: it shows nothing and is not counted
  int runs = 0;       // number of settings that it ran in
  double largest_error = 0;  // largest error of a float64 program's parameters, relative to the reference
};

/// Long-lived jobs that several threads share.
class Checker {
 public:
  explicit Checker(const std::vector<Setting>& settings);

  /// Runs the program in each of these settings that has no more workers than the program has slices, `single` first. Stops at the first fault.
  Verdict check(const Program& program, std::span<const Setting> settings);
  const std::vector<Setting>& settings() const { return settings_; }

 private:
  struct Shared {
    std::mutex mutex;
    LongJob job;
    explicit Shared(const Setting& setting) : job(setting) {}
  };
  Result<std::vector<Outcome>> run(const Program& program, const Setting& setting);
  Result<Outcome> reference(const Program& program);

  std::vector<Setting> settings_;
  std::vector<std::unique_ptr<Shared>> jobs_;  // by setting
  std::mutex torch_;                           // guards LibTorch in this process
};

}  // namespace cohaul::programs
