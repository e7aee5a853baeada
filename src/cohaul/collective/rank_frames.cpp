// How a RankSession handles the frames that come.

#include <algorithm>
#include <cstring>
#include <utility>

#include "cohaul/collective/rank_session.h"

namespace cohaul::collective {
namespace {

std::string worker(int rank) { return "worker " + std::to_string(rank); }

}  // namespace

Status RankSession::on_frame(int from, transport::Frame frame) {
  if (!failure_.ok()) return failure_;
  if (phase_ == Phase::closed) return {};
  switch (static_cast<RankKind>(frame.kind)) {
    case RankKind::gradient: return on_gradient(from, std::move(frame), false);
    case RankKind::last_gradient: return on_gradient(from, std::move(frame), true);
    case RankKind::end: return on_end(from, frame);
    case RankKind::facts: return on_facts(from, frame);
    case RankKind::updated:
    case RankKind::unchanged:
    case RankKind::updated_all: return on_updated(from, frame);
    case RankKind::swapped: return on_swapped(from, frame);
    case RankKind::entering: return on_entering(from, frame);
    case RankKind::initial: return on_initial(from, std::move(frame));
    case RankKind::have: return on_have(from, frame);
    case RankKind::left: return on_left(from, frame);
    case RankKind::failed: {
      auto failure = Failure::decode(frame.body);
      return fail(failure.ok() ? Status(failure->code, failure->why) : failure.status().context(worker(from)));
    }
    default: return unexpected(from, frame);
  }
}

Status RankSession::unexpected(int from, const transport::Frame& frame) {
  return fail(corrupt("an unexpected frame (kind " + std::to_string(frame.kind) + ", step " +
                      std::to_string(frame.clock) + ", bucket " + std::to_string(frame.key) + ", " +
                      std::to_string(frame.payload.size()) + " bytes) of " + worker(from) + " in step " +
                      std::to_string(step_)));
}

Status RankSession::has_left(int rank) {
  const std::string here = phase_ == Phase::spreading
                               ? "while this worker waits until all have the parameters of worker 0"
                           : phase_ == Phase::swapping ? "while this worker waits for the averages of the parameters"
                                                       : "while this worker is in step " + std::to_string(step_ + 1);
  return fail(invalid(worker(rank) + " left after " + std::to_string(left_[rank]) +
                      " steps (its loop, its trainer or its job ended), " + here +
                      ": all workers must do the same steps"));
}

Status RankSession::not_in_step(int rank) {
  const Status why =
      invalid(worker(rank) + " is in step " + std::to_string(latest_[rank] + 1) + ", without an end of step " +
              std::to_string(step_ + 1) + ", in which this worker is: all workers must do the same steps");
  // Other hosts get that rank's gradients only in sums of this one, and would wait for them.
  for (int r = 0; r < ranks_ && !plan_.sums.empty(); ++r)
    if (!plan_.is_near(r)) tell(r, why);
  return fail(why);
}

Status RankSession::not_alike(int spreader, std::uint64_t operation, int other, std::int64_t step) {
  return invalid(
      worker(spreader) +
      (operation == kWrite ? " writes the parameters of worker 0 to all" : " starts from the parameters of worker 0") +
      " while " + worker(other) + " is in step " + std::to_string(step + 1) +
      ": all workers must do the same, in the same order");
}

Status RankSession::in_time(int from, const transport::Frame& frame) {
  if (frame.clock < current() || frame.clock > current() + 1) return unexpected(from, frame);
  latest_[from] = frame.clock;
  if (phase_ == Phase::spreading && missing(from)) {
    const Status why = not_alike(rank_, operation_, from, frame.clock);
    tell(from, why);
    return fail(why);
  }
  if (phase_ == Phase::ends && frame.clock > step_ && missing(from)) return not_in_step(from);
  return {};
}

Status RankSession::on_end(int from, const transport::Frame& frame) {
  COHAUL_TRY(in_time(from, frame));
  if (frame.payload.size() > kFactsMax) return unexpected(from, frame);
  Reader in(frame.body);
  COHAUL_TRY(end_of(from, at(frame.clock), in, frame.payload));
  return proceed();
}

Status RankSession::end_of(int from, StepState& state, Reader& in, ConstBytes long_facts) {
  const auto first = static_cast<std::size_t>(plan_.part_first[from]);
  std::string_view facts;
  Status read =
      StepEnd::decode(in, std::span(state.ends).subspan(first, static_cast<std::size_t>(plan_.parts_of(from))), facts);
  if (read.ok() && state.ended[from] != 0) read = corrupt("a step ends twice");
  if (read.ok() && state.gradients[from] != plan_.gradients[from]) read = corrupt("a step ends without its gradients");
  if (!read.ok()) return fail(read.context(worker(from)));
  if (!long_facts.empty()) facts = {reinterpret_cast<const char*>(long_facts.data()), long_facts.size()};
  if (!facts.empty()) state.facts[from] = facts, ++state.ranks_with_facts;
  state.ended[from] = 1;
  ++state.ranks_ended;
  return {};
}

Status RankSession::on_facts(int from, const transport::Frame& frame) {
  const bool owed = in_finish() && frame.clock == step_ && owner_.needs_facts(step_) && plan_.has_facts[from] != 0 &&
                    facts_step_[from] < step_;
  const bool fits = owed && owner_.watches(step_)
                        ? squares_.take(frame.payload, [&](PartitionId p) { return plan_.owns(from, p); })
                        : frame.payload.empty();
  if (!owed || !fits) return unexpected(from, frame);
  Reader in(frame.body);
  const auto facts = update::GradientFacts::decode(in);
  if (!facts.ok()) return fail(facts.status().context(worker(from)));
  if (!in.done()) return unexpected(from, frame);
  facts_.merge(*facts);
  facts_step_[from] = step_;
  --facts_missing_;
  return proceed();
}

std::optional<RankSession::PortionId> RankSession::portion_of(std::uint64_t key, int plain) const {
  const std::size_t bucket = bucket_of(key);
  const std::uint64_t owner = owner_of(key, plain);
  if (bucket >= layout_.buckets().size() || owner >= static_cast<std::uint64_t>(ranks_)) return {};
  if (plan_.portion(bucket, static_cast<int>(owner)).empty()) return {};
  return PortionId{bucket, static_cast<int>(owner)};
}

std::optional<RankSession::PortionId> RankSession::told_portion(std::uint64_t key, int from) const {
  const std::optional<PortionId> of = portion_of(key, from);
  if (!of || shares_with(from) || plan_.teller(of->bucket, of->owner, rank_) != from) return {};
  return of;
}

void RankSession::take_values(const Portion& portion, ConstBytes values) {
  std::byte* place = parameters_.data() + portion.offset;
  if (!values.empty() && place != values.data()) std::memcpy(place, values.data(), values.size());
}

Status RankSession::on_updated(int from, const transport::Frame& frame) {
  const auto kind = static_cast<RankKind>(frame.kind);
  if (!in_finish() || frame.clock != step_ || updates_left_[from] == 0) return unexpected(from, frame);
  if (kind == RankKind::updated_all) {
    if (!shares_with(from) || !frame.payload.empty()) return unexpected(from, frame);
  } else {
    const std::optional<PortionId> of = told_portion(frame.key, from);
    if (!of) return unexpected(from, frame);
    const Portion& portion = plan_.portion(of->bucket, of->owner);
    const bool fits = frame.payload.size() == (kind == RankKind::updated ? portion.bytes : 0);
    std::int64_t& updated =
        updated_[of->bucket * static_cast<std::size_t>(ranks_) + static_cast<std::size_t>(of->owner)];
    if (!fits || std::exchange(updated, step_) == step_) return unexpected(from, frame);
    take_values(portion, frame.payload);
    body_.clear();
    tell_portion(kind, step_, *of, parameters_.subspan(portion.offset, frame.payload.size()));
  }
  if (--updates_left_[from] == 0) --updates_missing_;
  if (!plan_.is_near(from) && --far_missing_ == 0 && phase_ == Phase::updates) tell_host();
  return proceed();
}

Status RankSession::on_swapped(int from, const transport::Frame& frame) {
  const bool due = phase_ == Phase::swapping && frame.clock == next_ && updates_left_[from] > 0;
  const std::optional<PortionId> of = due ? told_portion(frame.key, from) : std::nullopt;
  if (!of) return unexpected(from, frame);
  const Portion& portion = plan_.portion(of->bucket, of->owner);
  std::uint8_t& here = swapped_[of->bucket * static_cast<std::size_t>(ranks_) + static_cast<std::size_t>(of->owner)];
  if (std::exchange(here, 1) != 0 || frame.payload.size() != portion.bytes) return unexpected(from, frame);
  take_values(portion, frame.payload);
  body_.clear();
  tell_portion(RankKind::swapped, next_, *of, parameters_.subspan(portion.offset, portion.bytes));
  if (--updates_left_[from] == 0 && --updates_missing_ == 0) phase_ = Phase::idle;
  return {};
}

Status RankSession::on_entering(int from, const transport::Frame& frame) {
  if (rank_ != 0 || frame.key > kWrite || frame.clock < current() || frame.clock > current() + 1)
    return unexpected(from, frame);
  if (phase_ == Phase::spreading && frame.key != operation_)
    return fail(invalid(worker(frame.key == kStart ? from : 0) + " starts while " +
                        worker(frame.key == kStart ? 0 : from) +
                        " writes parameters: all workers must do the same, in the same order"));
  if (!in_step() || frame.clock != step_) return {};
  const Status why = not_alike(from, frame.key, rank_, step_);
  tell(from, why);
  return fail(why);
}

Status RankSession::on_initial(int from, transport::Frame frame) {
  const bool fits = rank_ != 0 && from == plan_.spreader(rank_) && frame.key <= kWrite && !has_early_ &&
                    frame.payload.size() == (shares_with(from) ? 0 : parameters_.size());
  if (!fits || frame.clock < current() || frame.clock > current() + 1) return unexpected(from, frame);
  if (phase_ == Phase::spreading) return take_initial(frame);
  if (in_step() && frame.clock == step_) return refuse_initial(frame.key, step_);
  early_ = std::move(frame);
  has_early_ = true;
  return {};
}

/// Refuses rank 0's parameters while this rank is in a step. Ranks that wait for them here are told, too.
Status RankSession::refuse_initial(std::uint64_t operation, std::int64_t step) {
  const Status why = not_alike(0, operation, rank_, step);
  for (int to = 0; to < ranks_; ++to)
    if (to == 0 || plan_.spreader(to) == rank_) tell(to, why);
  return fail(why);
}

Status RankSession::take_initial(const transport::Frame& frame) {
  if (frame.key != operation_)
    return fail(invalid(worker(operation_ == kStart ? rank_ : 0) + " starts while " +
                        worker(operation_ == kStart ? 0 : rank_) +
                        " writes parameters: all workers must do the same, in the same order"));
  if (frame.clock != next_) return unexpected(plan_.spreader(rank_), frame);
  if (!frame.payload.empty() && frame.payload.data() != parameters_.data())
    std::memcpy(parameters_.data(), frame.payload.data(), frame.payload.size());
  body_.clear();
  send_initial(operation_);
  send(0, RankKind::have, next_, operation_);
  phase_ = Phase::idle;
  return {};
}

Status RankSession::on_have(int from, const transport::Frame& frame) {
  const bool owed = rank_ == 0 && phase_ == Phase::spreading && frame.clock == next_ && frame.key == operation_;
  if (!owed || have_[from] != 0) return unexpected(from, frame);
  have_[from] = 1;
  if (--haves_missing_ == 0) phase_ = Phase::idle;
  return {};
}

Status RankSession::on_left(int from, const transport::Frame& frame) {
  if (frame.clock < 0 || frame.clock == kNever || left_[from] != kNever) return unexpected(from, frame);
  left_[from] = frame.clock;
  first_left_ = std::min(first_left_, frame.clock);
  const bool waits = in_step() ? frame.clock <= step_ : missing(from);
  return waits ? has_left(from) : Status();
}

Bytes RankSession::place(int from, std::uint16_t kind, std::int64_t clock, std::uint64_t key, std::uint64_t length) {
  if (static_cast<RankKind>(kind) == RankKind::initial) {
    const bool wanted = phase_ == Phase::spreading && rank_ != 0 && from == plan_.spreader(rank_) &&
                        !shares_with(from) && key == operation_ && clock == next_;
    return wanted && length == parameters_.size() ? parameters_ : Bytes();
  }
  if (static_cast<RankKind>(kind) != RankKind::updated || !in_finish() || clock != step_) return {};
  const std::optional<PortionId> of = told_portion(key, from);
  if (!of) return {};
  const Portion& portion = plan_.portion(of->bucket, of->owner);
  return length == portion.bytes ? parameters_.subspan(portion.offset, portion.bytes) : Bytes();
}

}  // namespace cohaul::collective
