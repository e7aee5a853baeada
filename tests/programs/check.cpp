#include "check.h"

#include <algorithm>
#include <cmath>

#include <c10/util/Exception.h>

#include "reference.h"

namespace cohaul::programs {
namespace {

constexpr double kTolerance = 1e-10;   // for float64 and a continuous rule
constexpr double kTolerance32 = 1e-2;  // for float32, where rounding errors grow: only gross faults are found
constexpr double kLimit_s = 75;        // time limit of a program in one setting
constexpr double kShareThatMoves = 0.5;
constexpr double kLargest = 100;  // largest parameter, unless the program diverges

std::optional<double> tolerance_of(const Program& p) { return p.float64 ? kTolerance : kTolerance32; }

bool is_idle(const Outcome& outcome) {
  const auto moved = std::ranges::count_if(outcome.parameters, [](const Parameter& p) { return p.moved; });
  return static_cast<double>(moved) < kShareThatMoves * static_cast<double>(outcome.parameters.size()) ||
         !(largest(outcome) < kLargest);
}

bool is_refusal(const Status& status) { return status.code() == Code::invalid || status.code() == Code::unsupported; }

/// Returns the first fault in all workers' outcomes.
std::optional<std::string> wrong(const Program& program, const Outcome& expected, const Outcome* baseline,
                                 const std::vector<Outcome>& seen) {
  for (std::size_t r = 0; r < seen.size(); ++r)
    if (!seen[r].status.ok()) return "worker " + std::to_string(r) + " ends with: " + seen[r].status.message();
  if (auto d = difference(expected, seen[0], tolerance_of(program), true)) return "against torch::optim: " + *d;
  for (std::size_t r = 1; r < seen.size(); ++r)
    if (auto d = difference(seen[0], seen[r], std::nullopt, false))
      return "worker " + std::to_string(r) + " against worker 0: " + *d;
  if (baseline != nullptr)
    if (auto d = difference(*baseline, seen[0], std::nullopt, true)) return "against single: " + *d;
  return std::nullopt;
}

}  // namespace

Checker::Checker(const std::vector<Setting>& settings) : settings_(settings) {
  for (const Setting& s : settings_) jobs_.push_back(std::make_unique<Shared>(s));
}

Result<std::vector<Outcome>> Checker::run(const Program& program, const Setting& setting) {
  const auto at = std::ranges::find(settings_, setting) - settings_.begin();
  Shared& shared = *jobs_.at(static_cast<std::size_t>(at));
  const std::lock_guard lock(shared.mutex);
  return shared.job.run(program, kLimit_s);
}

Result<Outcome> Checker::reference(const Program& program) {
  const std::lock_guard lock(torch_);
  try {
    return run_reference(program);
  } catch (const c10::Error& e) {
    return internal(e.what_without_backtrace());
  } catch (const std::exception& e) {
    return internal(e.what());
  }
}

Verdict Checker::check(const Program& program, std::span<const Setting> settings) {
  Verdict verdict;
  const auto expected = reference(program);
  if (!expected.ok()) {
    verdict.fault = Fault{{"torch::optim"}, "LibTorch does not accept the program: " + expected.status().message()};
    return verdict;
  }
  verdict.idle = is_idle(*expected);
  if (verdict.idle) return verdict;
  std::optional<Outcome> baseline;
  for (const Setting& setting : settings) {
    if (setting.workers > program.slices) continue;
    if (program.own_optimizer && setting.strategy == "sync") continue;  // servers own the parameters
    const auto seen = run(program, setting);
    ++verdict.runs;
    if (!seen.ok()) {
      verdict.fault = Fault{setting, seen.status().message()};
      return verdict;
    }
    if (auto what = wrong(program, *expected, baseline ? &*baseline : nullptr, *seen)) {
      verdict.refused = std::ranges::any_of(*seen, [](const Outcome& o) { return is_refusal(o.status); });
      verdict.fault = Fault{setting, *what};
      return verdict;
    }
    if (program.float64) verdict.largest_error = std::max(verdict.largest_error, error_of(*expected, seen->front()));
    if (!baseline) baseline = seen->front();
  }
  return verdict;
}

}  // namespace cohaul::programs
