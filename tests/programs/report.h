#pragma once
// Reports what was run: how many programs, with which features and pairs of them, and in which settings.

#include <iosfwd>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "check.h"

namespace cohaul::programs {

/// Counts in how many programs each feature and each pair of features is.
class Counts {
 public:
  Counts();
  void add(const Program& program);
  int programs() const { return programs_; }
  /// Returns how many programs have both features, [a][b]; [a][a]: how many have feature a.
  const std::vector<std::vector<int>>& pairs() const { return pairs_; }
  double percent(std::size_t feature) const;
  double percent(std::size_t a, std::size_t b) const;
  /// Returns the rarest pair.
  std::pair<std::size_t, std::size_t> rarest() const;
  /// Returns in words what is rarer than it should be; empty: nothing is.
  std::string too_rare() const;

 private:
  int programs_ = 0;
  std::vector<std::vector<int>> pairs_;  // [a][b]; [a][a]: of a alone
};

class Report {
 public:
  /// Adds a program's result. Thread-safe. Idle programs are counted separately.
  void add(const Program& program, const Verdict& verdict);
  void print(std::ostream& out, double seconds) const;
  nlohmann::json json(double seconds) const;
  int programs() const { return counts_.programs(); }
  int refused() const { return refused_; }

 private:
  mutable std::mutex mutex_;
  Counts counts_;
  int idle_ = 0, refused_ = 0, failed_ = 0, float64_ = 0;
  long runs_ = 0, steps_ = 0;
  double largest_error_ = 0;
};

}  // namespace cohaul::programs
