#include "cohaul/ps/host_sums.h"

#include <algorithm>
#include <utility>

#include "cohaul/update/subtree_sum.h"

namespace cohaul::ps {

HostSums::HostSums(const update::Layout& layout, const HostPlan& plan, ConstBytes parameters, bool names)
    : layout_(layout), plan_(plan), parameters_(parameters), names_(names) {
  std::size_t slots = 0, bytes = 0;
  for (std::size_t p = 0; p < layout.partitions().size(); ++p) {
    for (std::size_t s = 0; plan.is_far(p) && s < plan.sums.size(); ++s) {
      if (plan.summing_worker(p, static_cast<int>(s)) != plan.worker) continue;
      places_.push_back({p, static_cast<int>(s), slots, bytes});
      slots += plan.sums[s].parts.size();
      bytes += aligned(layout.partitions()[p].bytes);
    }
  }
  for (StepState& state : steps_) state.slots.resize(slots);
  memory_.resize(bytes);
}

HostSums::Place* HostSums::find(std::size_t partition, int sum) {
  const auto at = std::ranges::lower_bound(places_, std::pair(partition, sum), {},
                                           [](const Place& p) { return std::pair(p.partition, p.sum); });
  return at == places_.end() || at->partition != partition || at->sum != sum ? nullptr : &*at;
}

Status HostSums::check(std::size_t partition, const Push& push, ConstBytes gradient) const {
  const update::Partition& p = layout_.partitions()[partition];
  const update::Bucket& bucket = layout_.buckets()[p.bucket];
  if (push.is_sum ||
      !update::fits(push.absent, static_cast<std::size_t>(bucket.parameter_last - bucket.parameter_first)))
    return corrupt("a gradient with a list of absent parameters of another length");
  const bool is_aligned = reinterpret_cast<std::uintptr_t>(gradient.data()) % size_of(p.dtype) == 0;
  const bool fits = gradient.size() == p.bytes && is_aligned;
  if (!fits && !(gradient.empty() && layout_.is_all_absent(p, push.absent)))
    return corrupt("a gradient of another size");
  return {};
}

Result<const HostSums::SummedPush*> HostSums::take(int from, std::size_t partition, const Push& push,
                                                   ConstBytes gradient, transport::Frame frame) {
  const int sum = plan_.sum_of(push.slices);
  Place* place = sum < 0 ? nullptr : find(partition, sum);
  if (place == nullptr) return corrupt("a gradient that is for another");
  COHAUL_TRY(check(partition, push, gradient));
  const HostPlan::Sum& of = plan_.sums[static_cast<std::size_t>(sum)];
  const auto part = static_cast<std::size_t>(std::ranges::find(of.parts, push.slices) - of.parts.begin());
  if (of.holders[part] != from) return corrupt("a gradient of slices that it does not have");
  const std::int64_t step = push.step.value;
  StepState& state = steps_[step % 2];
  if (state.here == 0) state.step = step;
  const std::span<Slot> slots = std::span(state.slots).subspan(place->first_slot, of.parts.size());
  if (state.step != step || place->summed >= step || slots[part].here)
    return corrupt("a gradient of step " + std::to_string(step + 1) + ", which is not due");
  for (const Slot& other : slots) {
    if (other.here && (other.samples > 0) != (push.samples > 0)) return invalid(std::string(kWeighAlike));
  }
  ++state.here;
  Slot& slot = slots[part];
  slot.here = true;
  slot.frame = std::move(frame);
  slot.gradient = gradient;
  slot.absent.assign(push.absent.begin(), push.absent.end());
  slot.samples = push.samples;
  if (!std::ranges::all_of(slots, &Slot::here)) return nullptr;
  state.here -= slots.size();
  return sum_up(*place, step, slots);
}

const HostSums::SummedPush* HostSums::sum_up(Place& place, std::int64_t step, std::span<Slot> slots) {
  const HostPlan::Sum& of = plan_.sums[static_cast<std::size_t>(place.sum)];
  const update::Partition& partition = layout_.partitions()[place.partition];
  contributions_.clear();
  double samples = 0;
  for (std::size_t k = 0; k < slots.size(); ++k) {
    contributions_.push_back({slots[k].gradient, slots[k].absent, of.parts[k], of.holders[k]});
    samples += slots[k].samples;
  }
  update::GradientFacts named;
  std::byte* out = memory_.data() + place.offset;
  update::sum_subtree(layout_, PartitionId(static_cast<std::int32_t>(place.partition)), contributions_,
                      parameters_.data() + partition.offset, out, names_ ? &named : nullptr);
  update::absent_in_subtree(layout_.buckets()[partition.bucket].reduce, contributions_, absent_);
  const bool nothing = layout_.is_all_absent(partition, absent_);
  summed_ = {.sum = place.sum,
             .push = {.step = Step(step),
                      .slices = of.slices,
                      .samples = samples,
                      .is_sum = true,
                      .bad_parameter = named.parameter,
                      .bad_worker = named.worker,
                      .absent = absent_},
             .gradient = nothing ? ConstBytes() : ConstBytes(out, partition.bytes)};
  place.summed = step;
  for (Slot& slot : slots) {
    slot.here = false;
    slot.frame.release();
  }
  return &summed_;
}

void HostSums::forget_own(std::int64_t step) {
  StepState& state = steps_[step % 2];
  if (state.step != step) return;
  for (const Place& place : places_) {
    const HostPlan::Sum& of = plan_.sums[static_cast<std::size_t>(place.sum)];
    for (std::size_t k = 0; k < of.parts.size(); ++k) {
      Slot& slot = state.slots[place.first_slot + k];
      if (of.holders[k] != plan_.worker || !slot.here) continue;
      slot.here = false;
      --state.here;
    }
  }
}

bool HostSums::misses(int worker, std::int64_t step) const {
  const StepState& state = steps_[step % 2];
  for (const Place& place : places_) {
    if (place.summed >= step) continue;
    const HostPlan::Sum& of = plan_.sums[static_cast<std::size_t>(place.sum)];
    for (std::size_t k = 0; k < of.parts.size(); ++k) {
      const bool here = state.step == step && state.slots[place.first_slot + k].here;
      if (of.holders[k] == worker && !here) return true;
    }
  }
  return false;
}

}  // namespace cohaul::ps
