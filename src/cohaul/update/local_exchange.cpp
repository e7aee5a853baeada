#include "cohaul/update/local_exchange.h"

#include <vector>

#include "cohaul/base/check.h"
#include "cohaul/update/gradient_squares.h"
#include "cohaul/update/owner.h"

namespace cohaul::update {
namespace {

std::vector<PartitionId> all_partitions(const Layout& layout) {
  std::vector<PartitionId> ids;
  for (std::size_t i = 0; i < layout.partitions().size(); ++i) ids.emplace_back(static_cast<std::int32_t>(i));
  return ids;
}

class LocalExchange final : public Exchange {
 public:
  LocalExchange(const Layout& layout, const OptimizerSettings& settings, const GradientPolicy& policy, Bytes parameters)
      : layout_(layout),
        policy_(policy),
        owner_(layout, settings, policy, all_partitions(layout)),
        squares_(layout, policy.watch_every > 0),
        parameters_(parameters) {
    COHAUL_CHECK(parameters.size() == layout.bytes(), "the flat area is as long as the layout says");
    COHAUL_CHECK(reinterpret_cast<std::uintptr_t>(parameters.data()) % kAlignment == 0,
                 "the flat area starts on 64 bytes");
  }

  Bytes parameters() override { return parameters_; }
  Status start(Time) override { return {}; }
  Status write(Time) override { return {}; }
  Status swap_averages(Time) override {
    for (PartitionId id : all_partitions(layout_)) {
      std::byte* place = parameters_.data() + layout_.partitions()[id.value].offset;
      owner_.swap_averages(id, place, place);
    }
    return {};
  }

  Status set_rates(std::span<const double> rates) override {
    owner_.set_rates(rates);
    return {};
  }

  Status begin(const Work& work, std::string_view) override {
    step_ = work.step.value;
    parts_ = subtrees_of(work.slices);
    pushed_.resize(parts_.size() * layout_.buckets().size());
    for (Pushed& p : pushed_) p.here = false;
    order_.clear();
    return {};
  }

  Status push(const Gradient& gradient) override {
    const Bucket& bucket = layout_.buckets()[static_cast<std::size_t>(gradient.bucket)];
    COHAUL_CHECK(gradient.bytes.size() == bucket.bytes || gradient.bytes.empty(),
                 "a gradient is as long as its bucket");
    Pushed& p = at(gradient.part, gradient.bucket);
    COHAUL_CHECK(!p.here, "a part of a bucket is pushed once a step");
    p.here = true;
    p.bytes = gradient.bytes;
    p.absent.assign(gradient.absent.begin(), gradient.absent.end());
    if (gradient.part + 1 == static_cast<std::int32_t>(parts_.size())) order_.push_back(gradient.bucket);
    return {};
  }

  Result<StepOutcome> finish(std::span<const PartEnd> ends) override {
    for (const Pushed& p : pushed_) COHAUL_CHECK(p.here, "every bucket is pushed before a step is finished");
    GradientFacts facts;
    const bool watched = owner_.watches(step_);
    if (owner_.needs_facts(step_))
      each_partition([&](PartitionId id) {
        owner_.measure(id, contributions_, facts, watched ? squares_.of(id) : std::span<double>());
      });
    const StepPlan plan = decide(policy_, facts, samples_of(ends));
    if (plan.action == StepPlan::Action::stop) return non_finite_error(facts, layout_, step_);
    each_partition([&](PartitionId id) {
      std::byte* place = parameters_.data() + layout_.partitions()[id.value].offset;
      owner_.apply(id, contributions_, step_, plan, place, place);
    });
    return StepOutcome{.loss = loss_of(parts_, ends),
                       .gradient_norm = plan.norm,
                       .gradient_norms = watched ? squares_.norms(samples_of(ends)) : std::vector<double>(),
                       .skipped = plan.action == StepPlan::Action::skip,
                       .counted_alike = counted_alike(ends),
                       .request = request_of(ends)};
  }

  Status abandon() override { return {}; }
  std::vector<StatePiece> owned() override { return owner_.pieces(parameters_); }
  void set_first(std::int64_t updates) override { owner_.set_first(updates); }
  std::size_t memory_bytes() const override { return owner_.state_bytes(); }

 private:
  struct Pushed {
    bool here = false;
    ConstBytes bytes;
    std::vector<std::byte> absent;
  };
  Pushed& at(std::int32_t part, std::int32_t bucket) {
    return pushed_[static_cast<std::size_t>(part) * layout_.buckets().size() + static_cast<std::size_t>(bucket)];
  }

  /// Calls f for each partition, with contributions_ set for it. The bucket that was pushed last comes first, since it
  /// is still in the cache.
  template <class F>
  void each_partition(F f) {
    for (auto r = order_.rbegin(); r != order_.rend(); ++r) {
      const Bucket& bucket = layout_.buckets()[static_cast<std::size_t>(*r)];
      for (std::int32_t p = bucket.partition_first; p < bucket.partition_last; ++p) {
        const Partition& partition = layout_.partitions()[static_cast<std::size_t>(p)];
        contributions_.clear();
        for (std::size_t k = 0; k < parts_.size(); ++k) {
          const Pushed& pushed = at(static_cast<std::int32_t>(k), *r);
          const ConstBytes bytes = pushed.bytes.empty()
                                       ? ConstBytes()
                                       : pushed.bytes.subspan(partition.offset - bucket.offset, partition.bytes);
          contributions_.push_back({bytes, pushed.absent, parts_[k], 0});
        }
        f(PartitionId(p));
      }
    }
  }

  const Layout& layout_;
  const GradientPolicy policy_;
  Owner owner_;
  GradientSquares squares_;
  Bytes parameters_;
  std::int64_t step_ = 0;
  std::vector<SliceRange> parts_;
  std::vector<Pushed> pushed_;       // by part, then bucket
  std::vector<std::int32_t> order_;  // buckets, as their last part was pushed
  std::vector<Contribution> contributions_;
};

}  // namespace

std::unique_ptr<Exchange> make_local_exchange(const Layout& layout, const OptimizerSettings& settings,
                                              const GradientPolicy& policy, Bytes parameters) {
  return std::make_unique<LocalExchange>(layout, settings, policy, parameters);
}

}  // namespace cohaul::update
