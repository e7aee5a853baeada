#pragma once
// For tests: a model, its gradients as pure functions of step and slice, and the workers that push them.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cohaul/collective/all_reduce_exchange.h"
#include "cohaul/collective/reduce_plan.h"
#include "cohaul/collective/test_ranks.h"
#include "cohaul/update/local_exchange.h"
#include "cohaul/update/mean.h"
#include "cohaul/update/sum.h"

namespace cohaul::collective {

using transport::Arena;
using update::Layout;

inline update::OptimizerSettings optimizer() {
  update::OptimizerSettings o(update::RuleSettings{.lr = 0.1, .momentum = 0.9, .weight_decay = 1e-4, .nesterov = true});
  o.schedule = {.kind = update::Schedule::Kind::exponential, .gamma = 0.8};
  return o;
}

struct Case {
  int ranks = 2, slices = 2;
  bool shared = false;
  transport::Form form = transport::Form::arena;
  std::vector<int> hosts{};  // by rank; empty: one for all
  update::OptimizerSettings rule = optimizer();
};
inline std::ostream& operator<<(std::ostream& out, const Case& c) {
  out << name(c.form) << (c.shared ? "_shared_" : "_own_") << c.ranks << "_ranks_" << c.slices << "_slices";
  if (!c.hosts.empty()) out << "_on_hosts_";
  for (const int host : c.hosts) out << host;
  return out;
}
inline std::vector<int> hosts_of(const Case& c) {
  return c.hosts.empty() ? std::vector<int>(static_cast<std::size_t>(c.ranks), 0) : c.hosts;
}
inline update::SliceRange slices_of(const Case& c, int rank) {
  return update::deal_slices(c.slices, hosts_of(c))[static_cast<std::size_t>(rank)];
}
inline std::string case_name(const testing::TestParamInfo<Case>& info) { return testing::PrintToString(info.param); }

/// Large and small ones, both types, a frozen one: several buckets, some with fewer partitions than ranks.
inline Layout model() {
  return *Layout::of({{"embedding", {150, 129}, DType::float32, true},
                      {"weight", {7, 5}, DType::float32, true},
                      {"bias", {7}, DType::float32, true},
                      {"frozen", {1000}, DType::float32, false},
                      {"scale", {3}, DType::float32, true},
                      {"deep", {9'000}, DType::float64, true},
                      {"last", {3000}, DType::float64, true}});
}

/// The same with buffers.
inline Layout buffered_model() {
  return *Layout::of({{"embedding", {150, 129}, DType::float32, true},
                      {"weight", {7, 5}, DType::float32, true},
                      {"mean", {2000}, DType::float32, true, 0, update::Reduce::mean},
                      {"variance", {2000}, DType::float32, true, 0, update::Reduce::mean},
                      {"steps", {3000}, DType::float64, true, 0, update::Reduce::first},
                      {"deep", {9'000}, DType::float64, true},
                      {"wide mean", {3000}, DType::float64, true, 0, update::Reduce::mean}});
}

/// What the slices of a step give. All of it is a function of (step, slice).
struct Problem {
  std::int64_t not_finite_step = -1;  // a parameter, "weight", has an infinite gradient in a slice, 1, of it
  bool samples = false;               // gradients are of sums over samples, to be averaged
  bool few = false;                   // all but the first two parameters are absent
  std::int32_t not_finite_parameter = 1, not_finite_slice = 1;

  /// Some in one slice only, "weight" in most, "last" in all of every third step.
  bool absent(std::int32_t parameter, std::int64_t step, int slice) const {
    if (few) return parameter >= 2;
    return (parameter == 1 && slice != 1) || (parameter == 0 && step == 2 && slice == 0) ||
           (parameter == 6 && step % 3 == 1);
  }
  double samples_of(int slice) const { return samples ? 3 + slice % 2 : 0; }
  double loss(std::int64_t step, int slice) const { return 1.0 / static_cast<double>(3 + step + 5 * slice); }
};

/// A worker's gradients of a step, summed in tree order over each of its parts; what no slice of a part gives is absent in it.
class Gradients {
 public:
  /// place: of as many parts as a worker has at most, each as long as the flat area.
  Gradients(const Layout& layout, Bytes place, Problem problem) : layout_(layout), place_(place), problem_(problem) {}

  void compute(std::int64_t step, update::SliceRange slices) {
    parts_ = update::subtrees_of(slices);
    ends_.assign(parts_.size(), {});
    absent_.assign(parts_.size(), std::vector<bool>(layout_.parameters().size()));
    for (std::size_t k = 0; k < parts_.size(); ++k) {
      for (std::int32_t p = 0; p < static_cast<std::int32_t>(layout_.parameters().size()); ++p) {
        if (layout_.bucket_of(p) < 0) continue;
        if (layout_.parameters()[static_cast<std::size_t>(p)].dtype == DType::float32) compute_as<float>(k, p, step);
        else compute_as<double>(k, p, step);
      }
      end_part(k, step);
    }
  }
  std::int32_t parts() const { return static_cast<std::int32_t>(parts_.size()); }
  std::span<const update::PartEnd> ends() const { return ends_; }

  /// last: of the step; the ends go with it.
  Status push(update::Exchange& exchange, std::int32_t part, std::int32_t bucket, bool last = false) const {
    const update::Bucket& r = layout_.buckets()[static_cast<std::size_t>(bucket)];
    const auto k = static_cast<std::size_t>(part);
    std::vector<std::byte> mask;
    bool all = true;
    for (std::int32_t p = r.parameter_first; p < r.parameter_last; ++p) {
      if (!absent_[k][static_cast<std::size_t>(p)]) all = false;
      else
        update::set_absent(mask, static_cast<std::size_t>(p - r.parameter_first),
                           static_cast<std::size_t>(r.parameter_last - r.parameter_first));
    }
    return exchange.push({.part = part,
                          .bucket = bucket,
                          .bytes = all ? ConstBytes() : place_.subspan(k * layout_.bytes() + r.offset, r.bytes),
                          .absent = mask,
                          .samples = ends_[k].samples,
                          .ends = last ? ends() : std::span<const update::PartEnd>()});
  }
  /// All (part, bucket) in an order of this worker's own, but the last `without`. early: the ends go with the last one.
  Status push_all(update::Exchange& exchange, int rank, std::int64_t step, std::size_t without = 0,
                  bool early = false) const {
    const auto order = pushes(rank, step);
    for (std::size_t i = 0; i + without < order.size(); ++i)
      COHAUL_TRY(push(exchange, order[i].first, order[i].second, early && i + 1 == order.size()));
    return {};
  }
  std::vector<std::pair<std::int32_t, std::int32_t>> pushes(int rank, std::int64_t step) const {
    std::vector<std::pair<std::int32_t, std::int32_t>> out;
    for (std::int32_t part = 0; part < parts(); ++part)
      for (std::int32_t bucket = 0; bucket < static_cast<std::int32_t>(layout_.buckets().size()); ++bucket)
        out.emplace_back(part, bucket);
    std::rotate(out.begin(), out.begin() + static_cast<long>((rank + step) % static_cast<long>(out.size())), out.end());
    if (rank % 2 == 1) std::reverse(out.begin(), out.end());
    return out;
  }

 private:
  template <class T>
  void compute_as(std::size_t k, std::int32_t p, std::int64_t step) {
    const std::size_t n = layout_.elements(p);
    std::vector<std::vector<T>> terms;
    bool any = false;
    for (int v = parts_[k].first; v < parts_[k].last; ++v) {
      const bool none = problem_.absent(p, step, v);
      any |= !none;
      terms.push_back(none ? std::vector<T>(n) : values_of<T>(p * 100 + v, n, static_cast<std::uint64_t>(step)));
      for (T& x : terms.back()) x *= static_cast<T>(1e-12);
      if (p == problem_.not_finite_parameter && v == problem_.not_finite_slice && step == problem_.not_finite_step)
        terms.back()[3] = std::numeric_limits<T>::infinity();
    }
    absent_[k][static_cast<std::size_t>(p)] = !any;
    if (!any) return;
    T* place = reinterpret_cast<T*>(place_.data() + k * layout_.bytes() + layout_.offset(p));
    const update::Reduce reduce = layout_.parameters()[static_cast<std::size_t>(p)].reduce;
    if (reduce != update::Reduce::update) {
      const bool first = reduce == update::Reduce::first;
      std::ranges::copy(first ? terms[0] : mean_of_all(terms, 0, static_cast<std::int32_t>(terms.size())), place);
      return;
    }
    std::vector<const T*> pointers;
    for (const auto& t : terms) pointers.push_back(t.data());
    update::tree_sum(std::span<const T* const>(pointers), place, n);
  }
  /// Returns the mean over a complete subtree.
  template <class T>
  static std::vector<T> mean_of_all(const std::vector<std::vector<T>>& terms, std::int32_t first, std::int32_t last) {
    if (last - first == 1) return terms[static_cast<std::size_t>(first)];
    const std::int32_t middle = update::middle_of(first, last);
    std::vector<T> left = mean_of_all(terms, first, middle);
    const std::vector<T> right = mean_of_all(terms, middle, last);
    update::mean_of(left.data(), middle - first, right.data(), last - middle, left.data(), left.size());
    return left;
  }
  void end_part(std::size_t k, std::int64_t step) {
    std::vector<double> losses;
    std::vector<const double*> terms;
    for (int v = parts_[k].first; v < parts_[k].last; ++v) {
      losses.push_back(problem_.loss(step, v));
      ends_[k].samples += problem_.samples_of(v);
    }
    for (const double& x : losses) terms.push_back(&x);
    update::tree_sum(std::span<const double* const>(terms), &ends_[k].loss, 1);
  }

  const Layout& layout_;
  const Bytes place_;
  const Problem problem_;
  std::vector<update::SliceRange> parts_;
  std::vector<update::PartEnd> ends_;
  std::vector<std::vector<bool>> absent_;  // by part, then parameter
};

inline void fill(Bytes parameters, int rank) {
  auto values = values_of<double>(rank, parameters.size() / sizeof(double), 99);
  for (double& x : values) x = 1 + std::abs(x);  // a number as floats too
  std::memcpy(parameters.data(), values.data(), parameters.size());
}

/// What one process that computes all slices gives.
struct Reference {
  std::vector<std::byte> parameters;
  std::vector<update::StepOutcome> outcomes;
};
inline Reference one_process(const Layout& layout, int slices, std::int64_t steps, const update::GradientPolicy& policy,
                             const Problem& problem) {
  Arena memory = *Arena::create("one", 2 * layout.bytes());
  Bytes parameters = memory.bytes().first(layout.bytes());
  fill(parameters, 0);
  Gradients gradients(layout, memory.bytes().last(layout.bytes()), problem);
  auto exchange = update::make_local_exchange(layout, optimizer(), policy, parameters);
  Reference out;
  for (std::int64_t s = 0; s < steps; ++s) {
    EXPECT_TRUE(exchange->begin({Step(s), {0, slices, slices}}, {}).ok());
    gradients.compute(s, {0, slices, slices});
    EXPECT_TRUE(gradients.push_all(*exchange, 0, s).ok());
    auto outcome = exchange->finish(gradients.ends());
    EXPECT_TRUE(outcome.ok()) << outcome.status().message();
    if (outcome.ok()) out.outcomes.push_back(*outcome);
  }
  out.parameters.assign(parameters.begin(), parameters.end());
  return out;
}

/// One rank's exchange and the memory under it.
struct Worker {
  static constexpr std::size_t kParts = 8;

  /// shared: its host's; mapped again by each rank, as by processes (the thread sanitizer sees no order that goes through the ring,
  /// which each end maps for itself).
  Worker(const Layout& layout, const Case& c, Rank& r, const Arena& shared, const update::GradientPolicy& policy = {},
         const Problem& problem = {})
      : rank(r.rank),
        memory(*Arena::create("worker", (1 + kParts) * layout.bytes())),
        common(*Arena::map(shared.id(), dup(shared.fd()), transport::Access::write)),
        parameters((c.shared ? common : memory).bytes().first(layout.bytes())),
        gradients(layout, memory.bytes().last(kParts * layout.bytes()), problem),
        slices(slices_of(c, r.rank)) {
    AllReduceOptions options{
        .hosts = c.hosts, .shared_parameters = c.shared, .slices = c.slices, .policy = policy, .lend = {&memory}};
    if (!c.shared || rank == 0) fill(parameters, rank);
    auto made = make_all_reduce_exchange(layout, c.rule, parameters, *r.links, options);
    EXPECT_TRUE(made.ok()) << made.status().message();
    exchange = std::move(*made);
  }
  Status start() { return exchange->start(steady_clock().now() + Ranks::kLong); }
  Status begin(std::int64_t step, std::string_view facts = {}) {
    COHAUL_TRY(exchange->begin({Step(step), slices}, facts));
    gradients.compute(step, slices);
    return {};
  }
  Status push_all(std::int64_t step, std::size_t without = 0) {
    return gradients.push_all(*exchange, rank, step, without);
  }
  Result<update::StepOutcome> finish() { return exchange->finish(gradients.ends()); }
  /// Of the ranks that begin a step, every other one ends it with its last gradient.
  Result<update::StepOutcome> step(std::int64_t step, std::string_view facts = {}) {
    COHAUL_TRY(begin(step, facts));
    COHAUL_TRY(gradients.push_all(*exchange, rank, step, 0, (rank + step) % 2 == 0));
    return finish();
  }
  Status steps(std::int64_t first, std::int64_t end) {
    for (std::int64_t s = first; s < end; ++s) COHAUL_TRY(step(s).status());
    return {};
  }

  const int rank;
  Arena memory, common;
  Bytes parameters;
  Gradients gradients;
  update::SliceRange slices;
  std::unique_ptr<update::Exchange> exchange;
};

/// Returns, by host, memory that its ranks share.
inline std::map<int, Arena> parameters_of_hosts(const Layout& layout, const Case& c) {
  std::map<int, Arena> out;
  for (const int host : hosts_of(c))
    if (!out.contains(host)) out.emplace(host, *Arena::create("parameters", layout.bytes()));
  return out;
}

/// Calls f as each rank of a case, with its exchange started.
template <class F>
void with_workers(const Layout& layout, const Case& c, F f, const update::GradientPolicy& policy = {},
                  const Problem& problem = {}, Duration timeout = Ranks::kLong) {
  const auto shared = parameters_of_hosts(layout, c);
  Ranks all({c.form, c.ranks}, timeout);
  all.run([&](Rank& rank) {
    Worker w(layout, c, rank, shared.at(hosts_of(c)[static_cast<std::size_t>(rank.rank)]), policy, problem);
    Status started = w.start();
    ASSERT_TRUE(started.ok()) << started.message();
    f(w, rank);
  });
}

/// Some steps of all workers give what one process gives.
inline void expect_one_process(const Layout& layout, const Case& c, const update::GradientPolicy& policy,
                               const Problem& problem) {
  constexpr std::int64_t kSteps = 5;
  const Reference expected = one_process(layout, c.slices, kSteps, policy, problem);
  with_workers(
      layout, c,
      [&](Worker& w, Rank&) {
        for (std::int64_t s = 0; s < kSteps; ++s) {
          if ((s + w.rank) % 3 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
          auto outcome = w.step(s);
          ASSERT_TRUE(outcome.ok()) << outcome.status().message();
          const update::StepOutcome& one = expected.outcomes[static_cast<std::size_t>(s)];
          EXPECT_EQ(outcome->loss, one.loss) << s;
          EXPECT_EQ(outcome->gradient_norm, one.gradient_norm) << s;
          EXPECT_EQ(outcome->skipped, one.skipped) << s;
        }
        EXPECT_TRUE(std::ranges::equal(w.exchange->parameters(), expected.parameters)) << "rank " << w.rank;
      },
      policy, problem);
}

}  // namespace cohaul::collective
