#include "cohaul/update/local_exchange.h"

#include <vector>

#include "cohaul/base/check.h"
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
  LocalExchange(const Layout& layout, const RuleSettings& settings, Bytes parameters)
      : layout_(layout),
        owner_(layout, settings, all_partitions(layout)),
        parameters_(parameters),
        pushed_(layout.runs().size(), true) {
    COHAUL_CHECK(parameters.size() == layout.bytes(), "the flat area is as long as the layout says");
    COHAUL_CHECK(reinterpret_cast<std::uintptr_t>(parameters.data()) % kAlignment == 0,
                 "the flat area starts on 64 bytes");
  }

  Bytes parameters() override { return parameters_; }
  Status start(Time) override { return {}; }

  Status begin(const Work&, const StepSettings& settings) override {
    settings_ = settings;
    pushed_.assign(pushed_.size(), false);
    return {};
  }

  // A run is pushed after the last use of its parameters in backward, so they may change at once.
  Status push(std::int32_t run, ConstBytes gradient, std::span<const std::int32_t> absent) override {
    COHAUL_CHECK(run >= 0 && static_cast<std::size_t>(run) < pushed_.size() && !pushed_[run],
                 "a run is pushed once a step");
    const Run& r = layout_.runs()[run];
    COHAUL_CHECK(gradient.size() == r.bytes, "a gradient is as long as its run");
    pushed_[run] = true;
    for (std::int32_t p = r.partition_first; p < r.partition_last; ++p) {
      const Partition& partition = layout_.partitions()[p];
      const Contribution contribution{gradient.subspan(partition.offset - r.offset, partition.bytes), absent};
      std::byte* place = parameters_.data() + partition.offset;
      owner_.apply(PartitionId(p), {&contribution, 1}, settings_, place, place);
    }
    return {};
  }

  Result<StepOutcome> finish(double loss) override {
    for (bool pushed : pushed_) COHAUL_CHECK(pushed, "every run is pushed before a step is finished");
    return StepOutcome{.loss = loss};
  }

  std::size_t memory_bytes() const override { return owner_.state_bytes(); }

 private:
  const Layout& layout_;
  Owner owner_;
  Bytes parameters_;
  StepSettings settings_;
  std::vector<bool> pushed_;  // in this step, by run
};

}  // namespace

std::unique_ptr<Exchange> make_local_exchange(const Layout& layout, const RuleSettings& settings, Bytes parameters) {
  return std::make_unique<LocalExchange>(layout, settings, parameters);
}

}  // namespace cohaul::update
