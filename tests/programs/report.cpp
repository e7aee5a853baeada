#include "report.h"

#include <algorithm>
#include <iomanip>
#include <ostream>
#include <sstream>

namespace cohaul::programs {
namespace {

constexpr double kFeaturePercentMin = 10, kPairPercentMin = 1;

std::string pair_name(std::pair<std::size_t, std::size_t> pair) {
  return feature_names()[pair.first] + " with " + feature_names()[pair.second];
}

std::string digits(double value, int after) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(after) << value;
  return out.str();
}

}  // namespace

Counts::Counts() : pairs_(feature_names().size(), std::vector<int>(feature_names().size())) {}

void Counts::add(const Program& program) {
  ++programs_;
  const std::vector<bool> has = features_of(program);
  for (std::size_t a = 0; a < has.size(); ++a)
    for (std::size_t b = 0; b < has.size(); ++b) pairs_[a][b] += has[a] && has[b];
}

double Counts::percent(std::size_t feature) const { return percent(feature, feature); }
double Counts::percent(std::size_t a, std::size_t b) const {
  return programs_ > 0 ? 100.0 * pairs_[a][b] / programs_ : 0;
}

std::pair<std::size_t, std::size_t> Counts::rarest() const {
  std::pair<std::size_t, std::size_t> out{0, 1};
  for (std::size_t a = 0; a < pairs_.size(); ++a)
    for (std::size_t b = a + 1; b < pairs_.size(); ++b)
      if (pairs_[a][b] < pairs_[out.first][out.second]) out = {a, b};
  return out;
}

std::string Counts::too_rare() const {
  std::string out;
  for (std::size_t a = 0; a < pairs_.size(); ++a) {
    if (percent(a) < kFeaturePercentMin) out += feature_names()[a] + ": " + digits(percent(a), 2) + " %\n";
    for (std::size_t b = a + 1; b < pairs_.size(); ++b)
      if (percent(a, b) < kPairPercentMin) out += pair_name({a, b}) + ": " + digits(percent(a, b), 2) + " %\n";
  }
  return out;
}

void Report::add(const Program& program, const Verdict& verdict) {
  const std::lock_guard lock(mutex_);
  idle_ += verdict.idle;
  if (verdict.idle) return;
  counts_.add(program);
  refused_ += verdict.refused;
  failed_ += verdict.fault.has_value() && !verdict.refused;
  float64_ += program.float64;
  runs_ += verdict.runs;
  steps_ += static_cast<long>(verdict.runs) * program.steps();
  largest_error_ = std::max(largest_error_, verdict.largest_error);
}

void Report::print(std::ostream& out, double seconds) const {
  const std::lock_guard lock(mutex_);
  out << "| feature | programs | % | rarest with | % |\n|---|--:|--:|---|--:|\n";
  for (std::size_t a = 0; a < feature_names().size(); ++a) {
    std::size_t rarest = a == 0 ? 1 : 0;
    for (std::size_t b = 0; b < feature_names().size(); ++b)
      if (b != a && counts_.percent(a, b) < counts_.percent(a, rarest)) rarest = b;
    out << "| " << feature_names()[a] << " | " << std::lround(counts_.percent(a) * counts_.programs() / 100) << " | "
        << digits(counts_.percent(a), 1) << " | " << feature_names()[rarest] << " | "
        << digits(counts_.percent(a, rarest), 1) << " |\n";
  }
  out << "\n"
      << counts_.programs() << " programs (" << float64_ << " in float64), " << runs_ << " runs, " << steps_
      << " steps, " << digits(seconds, 0) << " s; " << refused_ << " refused, " << failed_ << " failed; " << idle_
      << " drawn that move too little or diverge, not counted; largest error in float64: " << largest_error_ << "\n";
}

nlohmann::json Report::json(double seconds) const {
  const std::lock_guard lock(mutex_);
  nlohmann::json features, rarest;
  for (std::size_t a = 0; a < feature_names().size(); ++a) features[feature_names()[a]] = counts_.percent(a);
  const auto pair = counts_.rarest();
  return {{"programs", counts_.programs()},
          {"float64", float64_},
          {"runs", runs_},
          {"steps", steps_},
          {"seconds", seconds},
          {"refused", refused_},
          {"failed", failed_},
          {"idle", idle_},
          {"largest_error", largest_error_},
          {"features", feature_names()},
          {"features_percent", features},
          {"pairs", counts_.pairs()},  // how many programs have both, in the order of features
          {"rarest_pair", pair_name(pair)},
          {"rarest_pair_percent", counts_.percent(pair.first, pair.second)}};
}

}  // namespace cohaul::programs
