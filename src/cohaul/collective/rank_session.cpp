#include "cohaul/collective/rank_session.h"

#include <algorithm>
#include <utility>

#include "cohaul/base/facts.h"

namespace cohaul::collective {

using update::StepPlan;

namespace {

std::string worker(int rank) { return "worker " + std::to_string(rank); }

}  // namespace

RankSession::RankSession(const update::Layout& layout, const RankSettings& settings, int rank, int ranks,
                         Bytes parameters, ToRanks& out)
    : layout_(layout),
      settings_(settings),
      plan_(layout, rank, ranks, settings.slices),
      rank_(rank),
      ranks_(ranks),
      parameters_(parameters),
      out_(out),
      owner_(layout, settings.optimizer, settings.policy, plan_.partitions()),
      squares_(layout, settings.policy.watch_every > 0) {
  const auto n = static_cast<std::size_t>(ranks);
  const std::size_t runs = layout.runs().size();
  for (StepState& s : steps_) {
    s.slots.resize(plan_.owned.size() * plan_.parts.size());
    s.gradients.resize(n);
    s.ended.resize(n);
    s.ends.resize(plan_.parts.size());
    s.facts.resize(n);
  }
  pushed_.resize(static_cast<std::size_t>(plan_.parts_of(rank)) * runs);
  parts_pushed_.resize(runs);
  order_.reserve(runs);
  facts_step_.assign(n, -1);
  updates_left_.resize(n);
  updated_.assign(runs * n, -1);
  swapped_.resize(runs * n);
  have_.resize(n);
  latest_.assign(n, -1);
  left_.assign(n, kNever);
  contributions_.resize(plan_.parts.size());
  body_.reserve(transport::kBodyBytesMax);
}

Status RankSession::fail(Status why) {
  if (!failure_.ok()) return failure_;
  failure_ = std::move(why);
  phase_ = Phase::failed;
  return failure_;
}

void RankSession::send(int to, RankKind kind, std::int64_t clock, std::uint64_t key, ConstBytes payload,
                       std::shared_ptr<const void> keep) {
  out_.send(to, {.kind = static_cast<std::uint16_t>(kind),
                 .clock = clock,
                 .key = key,
                 .body = body_,
                 .payload = payload,
                 .keep = std::move(keep)});
}

void RankSession::send_to_others(RankKind kind, std::int64_t clock, std::uint64_t key, ConstBytes payload) {
  for (int to = 0; to < ranks_; ++to)
    if (to != rank_) send(to, kind, clock, key, payload);
}

void RankSession::tell(int to, const Status& why) {
  body_.clear();
  Writer writer(body_);
  Failure{why.code(), why.message()}.encode(writer);
  send(to, RankKind::failed, 0, 0);
}

Status RankSession::spread(std::uint64_t operation) {
  if (!failure_.ok()) return failure_;
  if (!is_idle()) return fail(invalid("parameters are to be given to all within a step"));
  phase_ = Phase::spreading;
  operation_ = operation;
  body_.clear();
  if (rank_ == 0) {
    std::ranges::fill(have_, 0);
    haves_missing_ = ranks_ - 1;
    send_to_others(RankKind::initial, next_, operation, settings_.shared_parameters ? ConstBytes() : parameters_);
    if (haves_missing_ == 0) phase_ = Phase::idle;
  } else {
    send(0, RankKind::entering, next_, operation);
    if (std::exchange(has_early_, false)) return take_initial(std::exchange(early_, {}));
  }
  for (int r = 0; r < ranks_ && first_left_ != kNever; ++r)
    if (missing(r) && left_[r] != kNever) return has_left(r);
  return {};
}

/// All ranks have met before it, and meet again before the next step, so no frame of another operation can come within it.
Status RankSession::swap_averages() {
  if (!failure_.ok()) return failure_;
  if (!is_idle()) return fail(invalid("averages take the place of parameters within a step"));
  body_.clear();
  for (const std::int32_t run : plan_.owned) {
    const Share& share = plan_.mine(static_cast<std::size_t>(run));
    for (std::int32_t p = share.first; p < share.last; ++p) {
      std::byte* place = parameters_.data() + layout_.partitions()[static_cast<std::size_t>(p)].offset;
      owner_.swap_averages(PartitionId(p), place, place);
    }
    if (!settings_.shared_parameters)
      send_to_others(RankKind::swapped, next_, static_cast<std::uint64_t>(run),
                     parameters_.subspan(share.offset, share.bytes));
  }
  if (settings_.shared_parameters) return {};
  phase_ = Phase::swapping;
  std::ranges::fill(swapped_, 0);
  updates_missing_ = 0;
  for (int r = 0; r < ranks_; ++r) {
    updates_left_[r] = r == rank_ ? 0 : plan_.runs_owned[r];
    updates_missing_ += updates_left_[r] > 0;
  }
  for (int r = 0; r < ranks_; ++r)
    if (missing(r) && left_[r] != kNever) return has_left(r);
  if (updates_missing_ == 0) phase_ = Phase::idle;
  return {};
}

Status RankSession::set_rates(std::span<const double> rates) {
  if (!failure_.ok()) return failure_;
  if (!is_idle()) return fail(invalid("rates are set within a step"));
  owner_.set_rates(rates);
  return {};
}

Status RankSession::begin(const update::Work& work, std::string_view facts) {
  if (!failure_.ok()) return failure_;
  if (!is_idle()) return fail(invalid("a step begins before the one before it is finished"));
  if (work.slices != plan_.slices[rank_])
    return invalid("slices [" + std::to_string(work.slices.first) + ", " + std::to_string(work.slices.last) + ") of " +
                   std::to_string(work.slices.count) + " are not " + worker(rank_) + "'s");
  if (work.step.value < next_) return invalid("step " + std::to_string(work.step.value + 1) + " is done already");
  if (facts.size() > kFactsMax) return invalid("the facts of a step are longer than 1 MB");
  step_ = work.step.value;
  phase_ = Phase::backward;
  if (has_early_) {
    const Status why = not_alike(0, early_.key, rank_, step_);
    tell(0, why);
    return fail(why);
  }
  for (int r = 0; r < ranks_ && first_left_ <= step_; ++r)
    if (left_[r] <= step_) return has_left(r);
  for (Pushed& p : pushed_) p.here = false;
  std::ranges::fill(parts_pushed_, 0);
  order_.clear();
  pushes_left_ = static_cast<std::int32_t>(pushed_.size());
  held_part_ = held_run_ = -1;
  sent_ = false;
  StepState& state = now();
  state.facts[rank_] = facts;
  if (!facts.empty()) ++state.ranks_with_facts;
  return {};
}

Status RankSession::push(const update::Gradient& gradient) {
  if (!failure_.ok()) return failure_;
  if (phase_ != Phase::backward) return fail(invalid("a gradient outside a step"));
  const auto runs = static_cast<std::int32_t>(layout_.runs().size());
  const auto which = [&] {
    return "part " + std::to_string(gradient.part) + " of run " + std::to_string(gradient.run);
  };
  if (gradient.part < 0 || gradient.part >= plan_.parts_of(rank_) || gradient.run < 0 || gradient.run >= runs ||
      pushed(gradient.part, gradient.run).here)
    return fail(invalid(which() + " is pushed twice, or does not exist"));
  const update::Run& run = layout_.runs()[gradient.run];
  bool fits = update::fits(gradient.absent, static_cast<std::size_t>(run.parameter_last - run.parameter_first));
  fits = fits && (gradient.bytes.size() == run.bytes || gradient.bytes.empty());
  for (int r = 0; r < ranks_ && fits && gradient.bytes.size() != run.bytes; ++r)
    fits = plan_.share(gradient.run, r).empty() || plan_.share(gradient.run, r).is_all_absent(gradient.absent);
  if (!fits) return fail(invalid("the gradient of " + which() + " has another size than the run"));
  Pushed& p = pushed(gradient.part, gradient.run);
  p.here = true;
  p.bytes = gradient.bytes;
  p.absent.assign(gradient.absent.begin(), gradient.absent.end());
  if (++parts_pushed_[gradient.run] == plan_.parts_of(rank_)) order_.push_back(gradient.run);
  if (const std::int32_t owned = plan_.owned_index[gradient.run]; owned >= 0) {
    const Share& share = plan_.mine(gradient.run);
    Slot& slot = now().slots[static_cast<std::size_t>(owned) * plan_.parts.size() +
                             static_cast<std::size_t>(plan_.part_first[rank_] + gradient.part)];
    slot.bytes = p.bytes.empty() ? ConstBytes() : p.bytes.subspan(share.offset - run.offset, share.bytes);
    slot.absent = p.absent;
    slot.here = true;
  }
  if (--pushes_left_ > 0) {
    send_gradient(gradient.part, gradient.run, nullptr);
    return {};
  }
  held_part_ = gradient.part, held_run_ = gradient.run;
  if (gradient.ends.empty()) return {};
  ended_early_ = true;
  return end_step(gradient.ends);
}

void RankSession::send_gradient(std::int32_t part, std::int32_t run, const StepEnd* end) {
  const Pushed& p = pushed(part, run);
  body_.clear();
  Writer writer(body_);
  GradientHead{part, p.absent}.encode(writer);
  if (end != nullptr) end->encode(writer);
  const RankKind kind = end != nullptr ? RankKind::last_gradient : RankKind::gradient;
  for (int to = 0; to < ranks_; ++to) {
    const Share& share = plan_.share(run, to);
    if (to == rank_ || share.empty()) continue;
    const bool nothing = p.bytes.empty() || (!p.absent.empty() && share.is_all_absent(p.absent));
    send(to, kind, step_, static_cast<std::uint64_t>(run),
         nothing ? ConstBytes() : p.bytes.subspan(share.offset - layout_.runs()[run].offset, share.bytes));
    sent_ = true;
  }
}

/// The gradient that was held back takes the end with it, where that fits into a body and the rank gets one.
void RankSession::send_ends(std::span<const update::PartEnd> ends) {
  const std::string& facts = now().facts[rank_];
  const bool fits = facts.size() <= kFactsInBodyMax;
  const StepEnd end{ends, fits ? std::string_view(facts) : std::string_view()};
  if (held_run_ >= 0) send_gradient(held_part_, held_run_, fits ? &end : nullptr);
  std::shared_ptr<std::string> long_facts = fits ? nullptr : std::make_shared<std::string>(facts);
  body_.clear();
  Writer writer(body_);
  end.encode(writer);
  for (int to = 0; to < ranks_; ++to) {
    const bool has_it = fits && held_run_ >= 0 && !plan_.share(held_run_, to).empty();
    if (to == rank_ || has_it) continue;
    send(to, RankKind::end, step_, 0, long_facts ? as_bytes(std::string_view(*long_facts)) : ConstBytes(), long_facts);
  }
  sent_ = true;
}

Status RankSession::finish(std::span<const update::PartEnd> ends) {
  if (!failure_.ok()) return failure_;
  if (std::exchange(ended_early_, false)) return {};
  if (phase_ != Phase::backward) return fail(invalid("the end of a step that was not begun"));
  if (pushes_left_ > 0)
    return fail(invalid(std::to_string(pushes_left_) + " gradients were not pushed before the end of the step"));
  return end_step(ends);
}

/// This rank's backward is over.
Status RankSession::end_step(std::span<const update::PartEnd> ends) {
  if (ends.size() != static_cast<std::size_t>(plan_.parts_of(rank_)))
    return fail(invalid("a step ends with another number of parts than it has"));
  phase_ = Phase::ends;
  StepState& state = now();
  std::ranges::copy(ends, state.ends.begin() + plan_.part_first[rank_]);
  state.ended[rank_] = 1;
  ++state.ranks_ended;
  facts_ = {};
  facts_missing_ = updates_missing_ = 0;
  for (int r = 0; r < ranks_; ++r) {
    const bool owes = r != rank_ && plan_.runs_owned[r] > 0;
    updates_left_[r] = !owes ? 0 : settings_.shared_parameters ? 1 : plan_.runs_owned[r];
    facts_missing_ += owes && owner_.needs_facts(step_);
    updates_missing_ += owes;
  }
  send_ends(ends);
  for (int r = 0; r < ranks_; ++r) {
    if (!missing(r)) continue;
    if (left_[r] != kNever) return has_left(r);
    if (latest_[r] > step_) return not_in_step(r);
  }
  return proceed();
}

/// Does what has become possible.
Status RankSession::proceed() {
  if (phase_ == Phase::ends && now().ranks_ended == ranks_) {
    COHAUL_TRY(agree());
    phase_ = Phase::facts;
    if (owner_.needs_facts(step_)) measure_mine();
  }
  if (phase_ == Phase::facts && facts_missing_ == 0) COHAUL_TRY(decide_step());
  if (phase_ == Phase::updates && updates_missing_ == 0) complete();
  return {};
}

/// What all ranks have said with their ends. All compare the same, in the same order, and so say the same.
Status RankSession::agree() {
  const StepState& state = now();
  if (state.ranks_with_facts > 0) {
    for (int r = 1; r < ranks_; ++r) {
      const std::string &zeros = state.facts[0], &theirs = state.facts[r];
      if (begins_loop(zeros) != begins_loop(theirs)) {
        const int begins = begins_loop(zeros) ? 0 : r;
        return fail(invalid(worker(begins) + " begins a new loop after " + std::to_string(step_) + " steps, " +
                            worker(begins == 0 ? r : 0) + " goes on in its own: all workers must do the same loops"));
      }
      if (Status same = compare_facts(zeros, "worker 0", theirs, worker(r)); !same.ok()) return fail(same);
    }
  }
  if (update::weighed_alike(state.ends)) return {};
  const bool zeros = state.ends[0].samples > 0;
  for (int r = 0; r < ranks_; ++r) {
    for (std::int32_t k = plan_.part_first[r]; k < plan_.part_first[r + 1]; ++k) {
      if ((state.ends[k].samples > 0) == zeros) continue;
      return fail(invalid("step " + std::to_string(step_ + 1) + ": " + worker(zeros ? 0 : r) +
                          " says over how many samples it is to be averaged, " + worker(zeros ? r : 0) +
                          " has averaged already: all workers must do the same"));
    }
  }
  return {};
}

/// The run that was pushed last comes first: it is still in the cache.
template <class F>
void RankSession::each_owned(F f) {
  for (auto run = order_.rbegin(); run != order_.rend(); ++run)
    if (plan_.owned_index[*run] >= 0) f(*run, static_cast<std::size_t>(plan_.owned_index[*run]));
}

void RankSession::set_contributions(std::size_t owned, std::int32_t partition) {
  const Share& share = plan_.mine(static_cast<std::size_t>(plan_.owned[owned]));
  const update::Partition& of = layout_.partitions()[partition];
  const Slot* slots = now().slots.data() + owned * plan_.parts.size();
  for (int r = 0; r < ranks_; ++r) {
    for (auto k = static_cast<std::size_t>(plan_.part_first[r]); k < static_cast<std::size_t>(plan_.part_first[r + 1]);
         ++k) {
      const ConstBytes bytes = slots[k].bytes;
      contributions_[k] = {bytes.empty() ? bytes : bytes.subspan(of.offset - share.offset, of.bytes), slots[k].absent,
                           plan_.parts[k], r};
    }
  }
}

void RankSession::measure_mine() {
  if (plan_.owned.empty()) return;
  const bool watched = owner_.watches(step_);
  update::GradientFacts mine;
  each_owned([&](std::int32_t run, std::size_t owned) {
    for (std::int32_t p = plan_.mine(run).first; p < plan_.mine(run).last; ++p) {
      set_contributions(owned, p);
      owner_.measure(PartitionId(p), contributions_, mine, watched ? squares_.of(PartitionId(p)) : std::span<double>());
    }
  });
  facts_.merge(mine);
  send_facts(mine);
}

void RankSession::send_facts(const update::GradientFacts& mine) {
  body_.clear();
  Writer writer(body_);
  mine.encode(writer);
  if (!owner_.watches(step_)) return send_to_others(RankKind::facts, step_, 0);
  const auto squares =
      std::make_shared<std::vector<double>>(squares_.of_owner([&](PartitionId p) { return plan_.owns(rank_, p); }));
  for (int to = 0; to < ranks_; ++to)
    if (to != rank_) send(to, RankKind::facts, step_, 0, std::as_bytes(std::span(*squares)), squares);
}

Status RankSession::decide_step() {
  step_plan_ = update::decide(settings_.policy, facts_, update::samples_of(now().ends));
  if (step_plan_.action == StepPlan::Action::stop) return fail(update::non_finite_error(facts_, layout_, step_));
  phase_ = Phase::updates;
  if (step_plan_.action == StepPlan::Action::skip && !layout_.has_buffers()) updates_missing_ = 0;
  else apply_mine();
  return {};
}

void RankSession::apply_mine() {
  body_.clear();
  each_owned([&](std::int32_t run, std::size_t owned) {
    const Share& share = plan_.mine(run);
    bool updated = false;
    for (std::int32_t p = share.first; p < share.last; ++p) {
      set_contributions(owned, p);
      std::byte* place = parameters_.data() + layout_.partitions()[p].offset;
      updated |= owner_.apply(PartitionId(p), contributions_, step_, step_plan_, place, place);
    }
    Slot* slots = now().slots.data() + owned * plan_.parts.size();
    for (std::size_t k = 0; k < plan_.parts.size(); ++k) slots[k].frame = transport::Frame();
    if (settings_.shared_parameters) return;
    const auto key = static_cast<std::uint64_t>(run);
    if (updated) send_to_others(RankKind::updated, step_, key, parameters_.subspan(share.offset, share.bytes));
    else send_to_others(RankKind::unchanged, step_, key);
  });
  if (settings_.shared_parameters && !plan_.owned.empty()) send_to_others(RankKind::updated_all, step_, 0);
}

void RankSession::complete() {
  outcome_ = {.loss = update::loss_of(plan_.parts, now().ends),
              .gradient_norm = step_plan_.norm,
              .gradient_norms = {},
              .skipped = step_plan_.action == StepPlan::Action::skip,
              .counted_alike = update::counted_alike(now().ends),
              .request = update::request_of(now().ends)};
  if (owner_.watches(step_)) outcome_.gradient_norms = squares_.norms(update::samples_of(now().ends));
  clear(now(), -1);
  next_ = step_ + 1;
  phase_ = Phase::idle;
}

Status RankSession::abandon() {
  if (!failure_.ok()) return failure_;
  if (is_idle()) return {};
  if (phase_ != Phase::backward || sent_) {
    const Status why = invalid(worker(rank_) + " gave up step " + std::to_string(step_ + 1) +
                               ", of which gradients had gone to others: nothing more can be done with this trainer");
    for (int r = 0; r < ranks_; ++r)
      if (r != rank_ && left_[r] == kNever) tell(r, why);
    return fail(why);
  }
  // What the others have sent of the step stays; what this rank has pushed, the next pushes overwrite.
  StepState& state = now();
  if (!state.facts[rank_].empty()) --state.ranks_with_facts;
  state.facts[rank_].clear();
  phase_ = Phase::idle;
  return {};
}

void RankSession::leave() {
  if (phase_ != Phase::idle) return;
  body_.clear();
  for (int r = 0; r < ranks_; ++r)
    if (r != rank_ && left_[r] == kNever) send(r, RankKind::left, next_, 0);
  phase_ = Phase::closed;
}

RankSession::StepState& RankSession::at(std::int64_t step) {
  StepState& state = steps_[step & 1];
  if (state.step >= 0 && state.step != step) clear(state, step);
  state.step = step;
  return state;
}

void RankSession::clear(StepState& state, std::int64_t step) {
  state.step = step;
  for (Slot& slot : state.slots) slot = Slot();
  std::ranges::fill(state.gradients, 0);
  std::ranges::fill(state.ended, 0);
  if (state.ranks_with_facts > 0)
    for (std::string& facts : state.facts) facts.clear();
  state.ranks_ended = state.ranks_with_facts = 0;
}

bool RankSession::missing(int rank) const {
  if (rank == rank_) return false;
  switch (phase_) {
    case Phase::ends: return steps_[step_ & 1].ended[rank] == 0;
    case Phase::facts: return plan_.runs_owned[rank] > 0 && facts_step_[rank] < step_;
    case Phase::updates:
    case Phase::swapping: return updates_left_[rank] > 0;
    case Phase::spreading: return rank_ == 0 ? have_[rank] == 0 : rank == 0;
    default: return false;
  }
}

}  // namespace cohaul::collective
