// How gradients get to their owners in a RankSession: from each rank, and, where the owner is on another host, as
// sums of what a host has.

#include <algorithm>
#include <utility>

#include "cohaul/collective/rank_session.h"
#include "cohaul/update/subtree_sum.h"

namespace cohaul::collective {
namespace {

std::string worker(int rank) { return "worker " + std::to_string(rank); }

bool is_aligned(ConstBytes bytes, DType dtype) {
  return reinterpret_cast<std::uintptr_t>(bytes.data()) % size_of(dtype) == 0;
}

}  // namespace

Status RankSession::push(const update::Gradient& gradient) {
  if (!failure_.ok()) return failure_;
  if (phase_ != Phase::backward) return fail(invalid("a gradient outside a step"));
  const auto buckets = static_cast<std::int32_t>(layout_.buckets().size());
  const auto which = [&] {
    return "part " + std::to_string(gradient.part) + " of bucket " + std::to_string(gradient.bucket);
  };
  if (gradient.part < 0 || gradient.part >= plan_.parts_of(rank_) || gradient.bucket < 0 ||
      gradient.bucket >= buckets || pushed(gradient.part, gradient.bucket).here)
    return fail(invalid(which() + " is pushed twice, or does not exist"));
  const update::Bucket& bucket = layout_.buckets()[gradient.bucket];
  bool fits = update::fits(gradient.absent, static_cast<std::size_t>(bucket.parameter_last - bucket.parameter_first));
  fits = fits && (gradient.bytes.size() == bucket.bytes || gradient.bytes.empty());
  for (int r = 0; r < ranks_ && fits && gradient.bytes.size() != bucket.bytes; ++r)
    fits =
        plan_.portion(gradient.bucket, r).empty() || plan_.portion(gradient.bucket, r).is_all_absent(gradient.absent);
  if (!fits) return fail(invalid("the gradient of " + which() + " has another size than the bucket"));
  Pushed& p = pushed(gradient.part, gradient.bucket);
  p.here = true;
  p.bytes = gradient.bytes;
  p.absent.assign(gradient.absent.begin(), gradient.absent.end());
  if (++parts_pushed_[gradient.bucket] == plan_.parts_of(rank_)) order_.push_back(gradient.bucket);
  if (--pushes_left_ > 0) {
    send_gradient(gradient.part, gradient.bucket, nullptr);
    return {};
  }
  held_part_ = gradient.part, held_bucket_ = gradient.bucket;
  if (gradient.ends.empty()) return {};
  ended_early_ = true;
  return end_step(gradient.ends);
}

/// Returns a portion of a gradient that this rank has pushed.
ConstBytes RankSession::portion_of_pushed(const Pushed& pushed, std::int32_t bucket, const Portion& portion) const {
  if (pushed.bytes.empty()) return {};
  return pushed.bytes.subspan(portion.offset - layout_.buckets()[bucket].offset, portion.bytes);
}

/// Sends a gradient to all ranks that sum it. end: goes with the last frame to each.
void RankSession::send_gradient(std::int32_t part, std::int32_t bucket, const StepEnd* end) {
  const Pushed& p = pushed(part, bucket);
  const std::int32_t of_all = plan_.part_first[rank_] + part;
  if (end != nullptr) {
    std::ranges::fill(end_with_, -1);
    for (int owner = 0; owner < ranks_; ++owner)
      if (!plan_.portion(bucket, owner).empty()) end_with_[plan_.next(bucket, owner, of_all)] = owner;
  }
  body_.clear();
  Writer writer(body_);
  GradientHead{part, p.absent}.encode(writer);
  for (const bool with_end : {false, true}) {
    if (with_end && end == nullptr) break;
    if (with_end) end->encode(writer);
    for (int owner = 0; owner < ranks_; ++owner) {
      const Portion& portion = plan_.portion(bucket, owner);
      if (portion.empty()) continue;
      const int to = plan_.next(bucket, owner, of_all);
      if (to == rank_ || with_end != (end != nullptr && end_with_[to] == owner)) continue;
      const bool nothing = !p.absent.empty() && portion.is_all_absent(p.absent);
      send(to, with_end ? RankKind::last_gradient : RankKind::gradient, step_,
           portion_key(static_cast<std::size_t>(bucket), owner, to),
           nothing ? ConstBytes() : portion_of_pushed(p, bucket, portion));
      sent_ = true;
    }
  }
  keep_gradient(part, bucket);
}

/// Keeps the portions that this rank sums itself.
void RankSession::keep_gradient(std::int32_t part, std::int32_t bucket) {
  const Pushed& p = pushed(part, bucket);
  const std::int32_t of_all = plan_.part_first[rank_] + part;
  for (int owner = 0; owner < ranks_; ++owner) {
    const Portion& portion = plan_.portion(bucket, owner);
    if (portion.empty() || plan_.next(bucket, owner, of_all) != rank_) continue;
    const ReducePlan::Target target = plan_.target(bucket, owner, of_all);
    Slot& slot = now().slots[target.slot];
    slot.bytes = portion_of_pushed(p, bucket, portion);
    slot.absent = p.absent;
    slot.here = true;
    if (target.sum >= 0) send_sum(plan_.sums[target.sum]);
  }
}

/// Forgets what this rank has kept of a step that is given up, so that others' parts are not summed with it.
void RankSession::forget_gradients() {
  const auto buckets = static_cast<std::int32_t>(layout_.buckets().size());
  for (std::int32_t part = 0; part < plan_.parts_of(rank_); ++part) {
    for (std::int32_t bucket = 0; bucket < buckets; ++bucket) {
      for (int owner = 0; owner < ranks_ && pushed(part, bucket).here; ++owner) {
        const std::int32_t of_all = plan_.part_first[rank_] + part;
        if (plan_.portion(bucket, owner).empty() || plan_.next(bucket, owner, of_all) != rank_) continue;
        now().slots[plan_.target(bucket, owner, of_all).slot] = Slot();
      }
    }
  }
}

update::Contribution RankSession::contribution_of(const Slot& slot, const Portion& portion,
                                                  const update::Partition& partition, const update::SliceRange& slices,
                                                  int worker) {
  const ConstBytes bytes = slot.bytes;
  return {bytes.empty() ? bytes : bytes.subspan(partition.offset - portion.offset, partition.bytes), slot.absent,
          slices, worker};
}

/// Sends a sum once all of its parts are here. The parts stay in place until the owner has the sum, and no rank is
/// through with the step before that.
void RankSession::send_sum(const HostSum& sum) {
  const Term& term = plan_.terms_of(sum.owner)[sum.term];
  const auto parts = std::span(now().slots).subspan(sum.slot, term.part_last - term.part_first);
  if (!std::ranges::all_of(parts, &Slot::here)) return;
  const Portion& portion = plan_.portion(sum.bucket, sum.owner);
  const bool stops = settings_.policy.non_finite == update::NonFinite::stop;
  std::byte* place = sums_.data() + sum.offset;
  for (std::int32_t p = portion.first; p < portion.last; ++p) {
    const update::Partition& partition = layout_.partitions()[p];
    contributions_.clear();
    for (std::int32_t k = term.part_first; k < term.part_last; ++k)
      contributions_.push_back(
          contribution_of(parts[k - term.part_first], portion, partition, plan_.parts[k], plan_.holder[k]));
    update::sum_subtree(layout_, PartitionId(p), contributions_, parameters_.data() + partition.offset,
                        place + partition.offset - portion.offset, stops ? &named_ : nullptr);
  }
  update::absent_in_subtree(layout_.buckets()[sum.bucket].reduce, contributions_, absent_);
  body_.clear();
  Writer writer(body_);
  GradientHead{std::max(term.part_first, plan_.part_first[rank_]) - plan_.part_first[rank_], absent_}.encode(writer);
  send(sum.owner, RankKind::gradient, step_, portion_key(sum.bucket, sum.owner, sum.owner),
       portion.is_all_absent(absent_) ? ConstBytes() : ConstBytes(place, portion.bytes));
  sent_ = true;
  for (Slot& part : parts) part.frame = transport::Frame();
}

Status RankSession::on_gradient(int from, transport::Frame frame, bool last) {
  COHAUL_TRY(in_time(from, frame));
  const std::optional<PortionId> of = portion_of(frame.key, rank_);
  if (!of) return unexpected(from, frame);
  const Portion& portion = plan_.portion(of->bucket, of->owner);
  const update::Bucket& bucket = layout_.buckets()[of->bucket];
  Reader in(frame.body);
  const auto head = GradientHead::decode(in);
  if (!head.ok()) return fail(head.status().context(worker(from)));
  bool fits = update::fits(head->absent, static_cast<std::size_t>(bucket.parameter_last - bucket.parameter_first));
  fits =
      fits && (frame.payload.size() == portion.bytes || (frame.payload.empty() && portion.is_all_absent(head->absent)));
  if (!fits || !is_aligned(frame.payload, bucket.dtype) || head->part >= plan_.parts_of(from) || (!last && !in.done()))
    return unexpected(from, frame);
  const std::int32_t part = plan_.part_first[from] + head->part;
  const Term& term = plan_.term_of(of->owner, part);
  const bool is_sum = of->owner == rank_ && term.is_sum();
  const ReducePlan::Target target = plan_.target(of->bucket, of->owner, part);
  if (target.slot < 0 || (is_sum && plan_.sender(of->bucket, rank_, term) != from)) return unexpected(from, frame);
  StepState& state = at(frame.clock);
  Slot& slot = state.slots[target.slot];
  if (slot.here || (is_sum ? last : state.ended[from] != 0)) return unexpected(from, frame);
  ++(is_sum ? state.sums : state.gradients)[from];
  state.sums_come += is_sum;
  slot.here = true;
  slot.bytes = frame.payload;
  slot.absent = head->absent;
  const std::int64_t frame_step = frame.clock;
  slot.frame = std::move(frame);  // the memory that the views point into does not move with it
  if (last) COHAUL_TRY(end_of(from, state, in, {}));
  if (target.sum >= 0 && frame_step == step_) send_sum(plan_.sums[target.sum]);
  return last || is_sum ? proceed() : Status();
}

}  // namespace cohaul::collective
