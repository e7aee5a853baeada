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
      plan_(layout, rank, ranks, settings.slices, settings.hosts, settings.shared_parameters),
      rank_(rank),
      ranks_(ranks),
      parameters_(parameters),
      out_(out),
      owner_(layout, settings.optimizer, settings.policy, plan_.partitions()),
      squares_(layout, settings.policy.watch_every > 0) {
  const auto n = static_cast<std::size_t>(ranks);
  const std::size_t buckets = layout.buckets().size();
  for (StepState& s : steps_) {
    s.slots.resize(static_cast<std::size_t>(plan_.slots));
    s.gradients.resize(n);
    s.sums.resize(n);
    s.ended.resize(n);
    s.ends.resize(plan_.parts.size());
    s.facts.resize(n);
  }
  pushed_.resize(static_cast<std::size_t>(plan_.parts_of(rank)) * buckets);
  parts_pushed_.resize(buckets);
  order_.reserve(buckets);
  sums_.resize(plan_.sum_bytes);
  end_with_.resize(n);
  facts_step_.assign(n, -1);
  updates_left_.resize(n);
  updated_.assign(buckets * n, -1);
  swapped_.resize(buckets * n);
  have_.resize(n);
  latest_.assign(n, -1);
  left_.assign(n, kNever);
  contributions_.reserve(plan_.parts.size());
  absent_.reserve(update::absent_mask_bytes(update::kBucketParametersMax));
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
    send_initial(operation);
    if (haves_missing_ == 0) phase_ = Phase::idle;
  } else {
    send(0, RankKind::entering, next_, operation);
    if (std::exchange(has_early_, false)) return take_initial(std::exchange(early_, {}));
  }
  for (int r = 0; r < ranks_ && first_left_ != kNever; ++r)
    if (missing(r) && left_[r] != kNever) return has_left(r);
  return {};
}

/// Sends rank 0's parameters to the ranks that get them from this rank.
void RankSession::send_initial(std::uint64_t operation) {
  for (int to = 1; to < ranks_; ++to)
    if (to != rank_ && plan_.spreader(to) == rank_)
      send(to, RankKind::initial, next_, operation, shares_with(to) ? ConstBytes() : parameters_);
}

/// Sends a portion's values to the ranks that get them from this rank.
void RankSession::tell_portion(RankKind kind, std::int64_t clock, const PortionId& of, ConstBytes values) {
  for (int to = 0; to < ranks_; ++to) {
    if (to == rank_ || shares_with(to) || plan_.teller(of.bucket, of.owner, to) != rank_) continue;
    send(to, kind, clock, portion_key(of.bucket, of.owner, rank_), values);
  }
}

/// Counts what others will send. words: ranks that share parameters with this one say when they have written theirs.
void RankSession::expect_values(bool words) {
  updates_missing_ = far_missing_ = 0;
  for (int r = 0; r < ranks_; ++r) {
    std::int32_t& left = updates_left_[r];
    if (r == rank_) left = 0;
    else if (shares_with(r)) left = words ? plan_.writes[r] : 0;
    else left = plan_.portions_told[r];
    updates_missing_ += left > 0;
    if (!plan_.is_near(r)) far_missing_ += left;
  }
}

/// Begins a swap. All ranks have met before it, and meet again before the next step, so no frame of another operation
/// can come within it.
Status RankSession::swap_averages() {
  if (!failure_.ok()) return failure_;
  if (!is_idle()) return fail(invalid("averages take the place of parameters within a step"));
  body_.clear();
  for (const std::int32_t bucket : plan_.owned) {
    const Portion& portion = plan_.mine(static_cast<std::size_t>(bucket));
    for (std::int32_t p = portion.first; p < portion.last; ++p) {
      std::byte* place = parameters_.data() + layout_.partitions()[static_cast<std::size_t>(p)].offset;
      owner_.swap_averages(PartitionId(p), place, place);
    }
    tell_portion(RankKind::swapped, next_, {static_cast<std::size_t>(bucket), rank_},
                 parameters_.subspan(portion.offset, portion.bytes));
  }
  expect_values(false);
  if (updates_missing_ == 0) return {};
  phase_ = Phase::swapping;
  std::ranges::fill(swapped_, 0);
  for (int r = 0; r < ranks_; ++r)
    if (missing(r) && left_[r] != kNever) return has_left(r);
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
  if (has_early_) return refuse_initial(early_.key, step_);
  for (int r = 0; r < ranks_ && first_left_ <= step_; ++r)
    if (left_[r] <= step_) return has_left(r);
  for (Pushed& p : pushed_) p.here = false;
  std::ranges::fill(parts_pushed_, 0);
  order_.clear();
  pushes_left_ = static_cast<std::int32_t>(pushed_.size());
  held_part_ = held_bucket_ = -1;
  sent_ = false;
  named_ = {};
  StepState& state = now();
  state.facts[rank_] = facts;
  if (!facts.empty()) ++state.ranks_with_facts;
  return {};
}

/// Sends the ends. The gradient that was held back carries them, where they fit into a body and the rank gets a
/// gradient.
void RankSession::send_ends(std::span<const update::PartEnd> ends) {
  const std::string& facts = now().facts[rank_];
  const bool fits = facts.size() <= kFactsInBodyMax;
  const StepEnd end{ends, fits ? std::string_view(facts) : std::string_view()};
  if (held_bucket_ >= 0) send_gradient(held_part_, held_bucket_, fits ? &end : nullptr);
  std::shared_ptr<std::string> long_facts = fits ? nullptr : std::make_shared<std::string>(facts);
  body_.clear();
  Writer writer(body_);
  end.encode(writer);
  for (int to = 0; to < ranks_; ++to) {
    const bool has_it = fits && held_bucket_ >= 0 && end_with_[to] >= 0;
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

/// Ends this rank's part of the step, after its backward.
Status RankSession::end_step(std::span<const update::PartEnd> ends) {
  if (ends.size() != static_cast<std::size_t>(plan_.parts_of(rank_)))
    return fail(invalid("a step ends with another number of parts than it has"));
  phase_ = Phase::ends;
  StepState& state = now();
  std::ranges::copy(ends, state.ends.begin() + plan_.part_first[rank_]);
  state.ended[rank_] = 1;
  ++state.ranks_ended;
  facts_ = {};
  facts_missing_ = 0;
  for (int r = 0; r < ranks_; ++r) facts_missing_ += r != rank_ && plan_.has_facts[r] != 0 && owner_.needs_facts(step_);
  expect_values(true);
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
  if (phase_ == Phase::ends && now().ranks_ended == ranks_ && now().sums_come == plan_.sums_due) {
    COHAUL_TRY(agree());
    phase_ = Phase::facts;
    if (owner_.needs_facts(step_)) measure_mine();
  }
  if (phase_ == Phase::facts && facts_missing_ == 0) COHAUL_TRY(decide_step());
  if (phase_ == Phase::updates && updates_missing_ == 0) complete();
  return {};
}

/// Compares what all ranks have said with their ends. All compare the same, in the same order, and so come to the
/// same result.
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
    for (std::int32_t k = plan_.part_first[r]; k < plan_.part_last[r]; ++k) {
      if ((state.ends[k].samples > 0) == zeros) continue;
      return fail(invalid("step " + std::to_string(step_ + 1) + ": " + worker(zeros ? 0 : r) +
                          " says over how many samples it is to be averaged, " + worker(zeros ? r : 0) +
                          " has averaged already: all workers must do the same"));
    }
  }
  return {};
}

/// Calls f for each owned bucket. The bucket that was pushed last comes first, since it is still in the cache.
template <class F>
void RankSession::each_owned(F f) {
  for (auto bucket = order_.rbegin(); bucket != order_.rend(); ++bucket)
    if (plan_.owned_index[*bucket] >= 0) f(*bucket, static_cast<std::size_t>(plan_.owned_index[*bucket]));
}

void RankSession::set_contributions(std::size_t owned, std::int32_t partition) {
  const Portion& portion = plan_.mine(static_cast<std::size_t>(plan_.owned[owned]));
  const std::vector<Term>& terms = plan_.terms_of(rank_);
  const Slot* slots = now().slots.data() + owned * terms.size();
  contributions_.clear();
  for (std::size_t k = 0; k < terms.size(); ++k) {
    const int worker = terms[k].is_sum() ? -1 : plan_.holder[terms[k].part_first];
    contributions_.push_back(
        contribution_of(slots[k], portion, layout_.partitions()[partition], terms[k].slices, worker));
  }
}

void RankSession::measure_mine() {
  if (plan_.has_facts[rank_] == 0) return;
  const bool watched = owner_.watches(step_);
  update::GradientFacts mine = named_;
  each_owned([&](std::int32_t bucket, std::size_t owned) {
    for (std::int32_t p = plan_.mine(bucket).first; p < plan_.mine(bucket).last; ++p) {
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
  each_owned([&](std::int32_t bucket, std::size_t owned) {
    const Portion& portion = plan_.mine(bucket);
    bool updated = false;
    for (std::int32_t p = portion.first; p < portion.last; ++p) {
      set_contributions(owned, p);
      std::byte* place = parameters_.data() + layout_.partitions()[p].offset;
      updated |= owner_.apply(PartitionId(p), contributions_, step_, step_plan_, place, place);
    }
    const std::size_t terms = plan_.terms_of(rank_).size();
    Slot* slots = now().slots.data() + owned * terms;
    for (std::size_t k = 0; k < terms; ++k) slots[k].frame = transport::Frame();
    tell_portion(updated ? RankKind::updated : RankKind::unchanged, step_, {static_cast<std::size_t>(bucket), rank_},
                 updated ? parameters_.subspan(portion.offset, portion.bytes) : Bytes());
  });
  tell_host();
}

/// Tells the ranks of this host once all that this rank writes into its host's parameters is there: its own portions,
/// and those that it gets for all.
void RankSession::tell_host() {
  if (plan_.writes[rank_] == 0 || far_missing_ > 0) return;
  body_.clear();
  for (int to = 0; to < ranks_; ++to)
    if (to != rank_ && shares_with(to)) send(to, RankKind::updated_all, step_, 0);
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
  // What the others have sent of the step stays. The next pushes overwrite what this rank has pushed.
  StepState& state = now();
  forget_gradients();
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
  std::ranges::fill(state.sums, 0);
  std::ranges::fill(state.ended, 0);
  if (state.ranks_with_facts > 0)
    for (std::string& facts : state.facts) facts.clear();
  state.ranks_ended = state.ranks_with_facts = state.sums_come = 0;
}

bool RankSession::missing(int rank) const {
  if (rank == rank_) return false;
  switch (phase_) {
    case Phase::ends: {
      const StepState& state = steps_[step_ & 1];
      return state.ended[rank] == 0 || state.sums[rank] < plan_.sums_from[rank];
    }
    case Phase::facts: return plan_.has_facts[rank] != 0 && facts_step_[rank] < step_;
    case Phase::updates:
    case Phase::swapping: return updates_left_[rank] > 0;
    case Phase::spreading: return rank_ == 0 ? have_[rank] == 0 : rank == 0 || rank == plan_.spreader(rank_);
    default: return false;
  }
}

}  // namespace cohaul::collective
