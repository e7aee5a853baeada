#pragma once
// For tests: training without a model. Gradients are a pure function of step and slice, so the result of any exchange can be compared with that of
// one process that computes all slices.

#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cohaul/base/random.h"
#include "cohaul/ps/client.h"
#include "cohaul/update/local_exchange.h"
#include "cohaul/update/sum.h"
#include "cohaul/update/sum_block.h"

namespace cohaul::ps {

constexpr std::int32_t kUnused = 3, kIdle = 5;  // parameters for which no slice has a gradient

inline update::Layout test_layout() {
  std::vector<update::ParameterSpec> specs{
      {"weight", {300, 111}, DType::float32, true}, {"bias", {300}, DType::float32, true},
      {"fixed", {5}, DType::float32, false},        {"unused", {9}, DType::float32, true},
      {"scale", {17}, DType::float64, true},        {"idle", {40'000}, DType::float32, true}};
  return std::move(*update::Layout::of(std::move(specs)));
}

inline update::RuleSettings momentum() {
  update::RuleSettings rule;
  rule.lr = 0.1;
  rule.momentum = 0.9;
  rule.weight_decay = 1e-3;
  return rule;
}

/// Special events in a training.
struct Problem {
  std::int64_t poisoned_step = -1;  // a step in which one slice has an infinite gradient
  bool is_weighted = false;         // gradients are sums over samples that the owner has still to divide
  std::int64_t all_absent_step = -1;
};

template <class T>
void fill(T* out, std::size_t n, std::uint64_t seed) {
  Random random(seed);
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<T>(random.uniform() - 0.5);
}

inline double samples_of_slice(std::int32_t v) { return 3 + v % 3; }

/// bias has no gradient in every third slice.
inline bool has_gradient(const Problem& problem, std::int32_t parameter, Step step, std::int32_t v) {
  if (parameter == kUnused || parameter == kIdle || step.value == problem.all_absent_step) return false;
  return parameter != 1 || (step.value + v) % 3 != 0;
}

/// Writes the sum of one parameter's gradients over a subtree to `out`. Returns false if the gradient is absent.
template <class T>
bool fill_parameter(const update::Layout& layout, std::int32_t parameter, Step step, const update::SliceRange& slices,
                    const Problem& problem, T* out) {
  const std::size_t n = layout.elements(parameter);
  std::vector<std::vector<T>> terms(static_cast<std::size_t>(slices.size()));
  bool any = false;
  for (std::int32_t v = slices.first; v < slices.last; ++v) {
    if (!has_gradient(problem, parameter, step, v)) continue;
    auto& term = terms[static_cast<std::size_t>(v - slices.first)];
    fill((term = std::vector<T>(n)).data(), n, mix_seed(step.value, v, parameter));
    for (T& t : term) t = problem.is_weighted ? static_cast<T>(samples_of_slice(v) * t) : t;
    if (step.value == problem.poisoned_step && v == slices.count - 1) term[n / 2] = std::numeric_limits<T>::infinity();
    any = true;
  }
  if (!any) return false;
  for (std::size_t done = 0; done < n; done += update::kBlockElements) {
    const std::size_t m = std::min(update::kBlockElements, n - done);
    const auto term = [&](std::size_t k) { return terms[k].empty() ? nullptr : terms[k].data() + done; };
    const auto slice = [&](std::size_t k) {
      const auto v = slices.first + static_cast<std::int32_t>(k);
      return update::SliceRange{v, v + 1, slices.count};
    };
    const T* sum = update::sum_block(term, slice, 0, terms.size(), slices.first, slices.last, m, out + done);
    if (sum != out + done) std::copy_n(sum, m, out + done);
  }
  return true;
}

inline update::PartEnd part_end(Step step, const update::SliceRange& part, const Problem& problem) {
  std::vector<double> losses;
  std::vector<const double*> terms;
  update::PartEnd end;
  for (std::int32_t v = part.first; v < part.last; ++v) {
    const double weight = problem.is_weighted ? samples_of_slice(v) : 1.0 / part.count;
    losses.push_back(weight * Random(mix_seed(step.value, v)).uniform());
    if (problem.is_weighted) end.samples += samples_of_slice(v);
  }
  for (double& l : losses) terms.push_back(&l);
  update::tree_sum(std::span<const double* const>(terms), &end.loss, 1);
  return end;
}

struct TestMemory {
  static constexpr std::size_t kParts = 6;
  transport::Arena arena;
  Bytes parameters, gradients;
  explicit TestMemory(const update::Layout& layout)
      : arena(*transport::Arena::create("test", (kParts + 1) * layout.bytes() + 64)) {
    parameters = arena.bytes().first(layout.bytes());
    gradients = arena.bytes().subspan(layout.bytes(), kParts * layout.bytes());
  }
};

/// Pushes everything of a step, the last bucket first.
inline Status push_all(update::Exchange& exchange, const update::Layout& layout, const update::Work& work,
                       const TestMemory& memory, const Problem& problem) {
  const auto parts = update::subtrees_of(work.slices);
  for (std::size_t k = 0; k < parts.size(); ++k) {
    Bytes gradients = memory.gradients.subspan(k * layout.bytes(), layout.bytes());
    for (auto r = static_cast<std::int32_t>(layout.buckets().size()) - 1; r >= 0; --r) {
      const update::Bucket& bucket = layout.buckets()[static_cast<std::size_t>(r)];
      std::vector<std::byte> absent;
      for (std::int32_t p = bucket.parameter_first; p < bucket.parameter_last; ++p) {
        std::byte* at = gradients.data() + layout.offset(p);
        const bool has = bucket.dtype == DType::float32
                             ? fill_parameter(layout, p, work.step, parts[k], problem, reinterpret_cast<float*>(at))
                             : fill_parameter(layout, p, work.step, parts[k], problem, reinterpret_cast<double*>(at));
        if (has) continue;
        update::set_absent(absent, static_cast<std::size_t>(p - bucket.parameter_first),
                           static_cast<std::size_t>(bucket.parameter_last - bucket.parameter_first));
        std::memset(at, 0xff, layout.bytes(p));  // must not be read
      }
      const double samples = part_end(work.step, parts[k], problem).samples;
      COHAUL_TRY(exchange.push(
          {static_cast<std::int32_t>(k), r, gradients.subspan(bucket.offset, bucket.bytes), absent, samples}));
    }
  }
  return {};
}

inline Result<update::StepOutcome> finish(update::Exchange& exchange, const update::Work& work,
                                          const Problem& problem) {
  std::vector<update::PartEnd> ends;
  for (const auto& part : update::subtrees_of(work.slices)) ends.push_back(part_end(work.step, part, problem));
  return exchange.finish(ends);
}

inline Result<update::StepOutcome> one_step(update::Exchange& exchange, const update::Layout& layout,
                                            const update::Work& work, const TestMemory& memory, const Problem& problem,
                                            std::string_view facts = {}) {
  COHAUL_TRY(exchange.begin(work, facts));
  COHAUL_TRY(push_all(exchange, layout, work, memory, problem));
  auto outcome = finish(exchange, work, problem);
  std::memset(memory.gradients.data(), 0xff, memory.gradients.size());
  return outcome;
}

inline void set_initial(const update::Layout& layout, Bytes parameters, std::uint64_t seed = 10) {
  for (std::size_t p = 0; p < layout.parameters().size(); ++p) {
    auto i = static_cast<std::int32_t>(p);
    std::byte* at = parameters.data() + layout.offset(i);
    if (layout.parameters()[p].dtype == DType::float32)
      fill(reinterpret_cast<float*>(at), layout.elements(i), seed + p);
    else fill(reinterpret_cast<double*>(at), layout.elements(i), seed + p);
  }
}

/// Returns the values of all parameters, without the padding between them.
inline std::vector<std::byte> values_of(const update::Layout& layout, ConstBytes parameters) {
  std::vector<std::byte> out;
  for (std::size_t p = 0; p < layout.parameters().size(); ++p) {
    auto i = static_cast<std::int32_t>(p);
    ConstBytes values = parameters.subspan(layout.offset(i), layout.bytes(i));
    out.insert(out.end(), values.begin(), values.end());
  }
  return out;
}

struct Trained {
  Status status;
  std::vector<std::byte> values;
  std::vector<update::StepOutcome> outcomes;
};

/// Trains in one process that computes all slices. Stops at the first error.
inline Trained train_alone(const update::Layout& layout, const update::GradientPolicy& policy, const Problem& problem,
                           std::int32_t slices, std::int64_t steps) {
  Trained out;
  TestMemory memory(layout);
  set_initial(layout, memory.parameters);
  auto local = update::make_local_exchange(layout, momentum(), policy, memory.parameters);
  for (std::int64_t s = 0; s < steps && out.status.ok(); ++s) {
    auto outcome = one_step(*local, layout, {Step(s), {0, slices, slices}}, memory, problem);
    out.status = outcome.status();
    if (outcome.ok()) out.outcomes.push_back(*outcome);
  }
  out.values = values_of(layout, memory.parameters);
  return out;
}

}  // namespace cohaul::ps
