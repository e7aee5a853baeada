#include "cohaul/collective/all_reduce_exchange.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "cohaul/base/last_operations.h"
#include "cohaul/collective/rank_messages.h"
#include "cohaul/collective/rank_session.h"

namespace cohaul::collective {
namespace {

/// Runs a RankSession on links.
class AllReduceExchange final : public update::Exchange, ToRanks {
 public:
  AllReduceExchange(const update::Layout& layout, const RankSettings& settings, Bytes parameters, Links& links,
                    std::string group)
      : parameters_(parameters),
        links_(links),
        group_(std::move(group)),
        session_(layout, settings, links.rank(), links.size(), parameters, *this) {}

  ~AllReduceExchange() override {
    // Where an exception ends this worker, the job is told of that. Others that heard that this worker has left would
    // fail earlier, and for another reason.
    if (failure_.ok() && links_.failure().ok() && std::uncaught_exceptions() == 0) session_.leave();
    (void)links_.try_flush();
    for (int r = 0; r < links_.size(); ++r)
      if (r != links_.rank()) links_.channel(r).set_place({});
  }

  /// Tells the links, before the first frame, which memory travels by address, and where parameters that come as
  /// bytes belong.
  Status prepare(const AllReduceOptions& options) {
    for (int r = 0; r < links_.size(); ++r) {
      if (r == links_.rank()) continue;
      for (const transport::Arena* arena : options.lend) COHAUL_TRY(links_.channel(r).lend(*arena));
      links_.channel(r).set_place(
          [this, r](std::uint16_t kind, std::int64_t clock, std::uint64_t key, std::uint64_t length) {
            return session_.place(r, kind, clock, key, length);
          });
    }
    return {};
  }

  Bytes parameters() override { return parameters_; }

  Status start(Time deadline) override {
    note_operation("start: parameters of worker 0");
    if (!failure_.ok()) return failure_;
    const Wait wait = until(deadline, "start from the parameters of worker 0");
    return settle(session_.start(), wait);
  }

  Status write(Time deadline) override {
    note_operation("write: parameters of worker 0");
    if (!failure_.ok()) return failure_;
    const Wait wait = until(deadline, "give the parameters of worker 0 to all");
    return settle(session_.write(), wait);
  }

  Status swap_averages(Time deadline) override {
    note_operation("swap parameters and averages");
    if (!failure_.ok()) return failure_;
    const Wait wait = until(deadline, "swap parameters and averages");
    return settle(session_.swap_averages(), wait);
  }

  Status set_rates(std::span<const double> rates) override {
    COHAUL_TRY(usable());
    return checked(session_.set_rates(rates));
  }

  Status begin(const update::Work& work, std::string_view facts) override {
    COHAUL_TRY(usable());
    step_ = work.step.value;
    return checked(session_.begin(work, facts));
  }

  Status push(const update::Gradient& gradient) override {
    COHAUL_TRY(usable());
    note_operation("send gradient of bucket, step", gradient.bucket, step_);
    Status pushed = session_.push(gradient);
    if (pushed.ok()) pushed = pump(gradient.ends.empty() ? "send a gradient" : "finish a step");
    if (!session_.failure().ok()) tell_all(links_.poller().clock().now() + links_.timeout());
    return checked(pushed);
  }

  Result<update::StepOutcome> finish(std::span<const update::PartEnd> ends) override {
    COHAUL_TRY(usable());
    note_operation("finish step", step_);
    const Wait wait{links_.poller().clock().now() + links_.timeout(), links_.timeout(), "finish a step"};
    COHAUL_TRY(settle(session_.finish(ends), wait));
    return session_.outcome();
  }

  Status abandon() override {
    COHAUL_TRY(usable());
    return checked(session_.abandon());
  }

  std::vector<update::StatePiece> owned() override { return session_.owned(); }
  void set_first(std::int64_t updates) override { session_.set_first(updates); }
  std::size_t memory_bytes() const override { return session_.state_bytes(); }

 private:
  struct Wait {
    Time deadline;
    Duration limit;
    const char* operation;
  };
  Wait until(Time deadline, const char* operation) const {
    return {deadline, std::max<Duration>(deadline - links_.poller().clock().now(), 1), operation};
  }
  Status usable() {
    if (!failure_.ok()) return failure_;
    return links_.failure().ok() ? Status() : fail(links_.failure());
  }
  Status fail(const Status& why) {
    if (!failure_.ok()) return failure_;
    const Status first = links_.fail(why);
    failure_ = first.context(group_);
    if (first.code() == Code::peer_lost) tell_others(first);
    return failure_;
  }
  /// Tells the others of a failure. They may have all that they need from the rank that was lost, and would wait for
  /// this one.
  void tell_others(const Status& why) {
    std::vector<std::byte> body;
    Writer writer(body);
    Failure{why.code(), why.message()}.encode(writer);
    for (int r = 0; r < links_.size(); ++r)
      if (r != links_.rank())
        (void)links_.post(r, {.kind = static_cast<std::uint16_t>(RankKind::failed), .body = body}).ok();
    (void)links_.try_flush();
  }
  /// Returns what the session has refused. The refusal is the exchange's failure only where the session has failed.
  Status checked(const Status& said) {
    if (said.ok() || !failure_.ok()) return said.ok() ? said : failure_;
    return session_.failure().ok() ? said.context(group_) : fail(said);
  }

  void send(int to, const transport::Message& message) override {
    Status sent = links_.post(to, message);
    if (!sent.ok() && not_sent_.ok()) not_sent_ = std::move(sent);
  }

  /// Takes what has come. A rank that is gone may have said before why.
  Status pump(const char* operation) {
    transport::Frame frame;
    for (int r = 0; r < links_.size(); ++r) {
      while (const transport::Frame* next = links_.next(r)) {
        if (!is_rank_kind(next->kind)) {  // a frame of a group, in which that rank is already
          if (session_.missing(r))
            return fail(invalid(std::string(operation) + ": worker " + std::to_string(r) +
                                " calls an operation of a group: all workers must do the same, in the same order"));
          break;
        }
        links_.take(r, frame);
        COHAUL_TRY(checked(session_.on_frame(r, std::move(frame))));
      }
    }
    if (!not_sent_.ok()) return fail(not_sent_.context(operation));
    return links_.failure().ok() ? Status() : fail(links_.failure());
  }

  /// Waits until the session has all that the operation needs, and all that it said is written.
  Status settle(Status begun, const Wait& wait) {
    if (begun.ok()) begun = wait_for(wait);
    if (!session_.failure().ok()) tell_all(wait.deadline);
    COHAUL_TRY(checked(begun));
    Status flushed = links_.flush(wait.operation, wait.deadline);
    return flushed.ok() ? flushed : fail(flushed);
  }

  Status wait_for(const Wait& wait) {
    Waiting waiting(links_.watch());
    for (;;) {
      COHAUL_TRY(pump(wait.operation));
      if (!session_.busy()) return {};
      Status waited = links_.wait(
          wait.deadline, wait.operation, [this](int r) { return session_.missing(r); }, wait.limit);
      if (!waited.ok()) return fail(waited);
    }
  }

  /// Sends all that this rank has said, so that the others find by themselves what it has found.
  void tell_all(Time deadline) {
    Waiting waiting(links_.watch());
    transport::Poller& poller = links_.poller();
    while (!links_.try_flush() && poller.clock().now() < deadline && links_.watch().health().ok())
      if (!poller.wait(deadline).ok()) return;
  }

  const Bytes parameters_;
  Links& links_;
  const std::string group_;
  RankSession session_;
  std::int64_t step_ = 0;
  Status not_sent_;  // why a message could not be sent
  Status failure_;
};

}  // namespace

Result<std::unique_ptr<update::Exchange>> make_all_reduce_exchange(const update::Layout& layout,
                                                                   const update::OptimizerSettings& optimizer,
                                                                   Bytes parameters, Links& links,
                                                                   const AllReduceOptions& options) {
  COHAUL_TRY(optimizer.check());
  COHAUL_TRY(options.policy.check());
  if (options.slices < links.size() || options.slices > update::kSlicesMax)
    return invalid("a step of " + std::to_string(options.slices) + " slices for " + std::to_string(links.size()) +
                   " workers: each needs one");
  if (parameters.size() != layout.bytes()) return invalid("the flat area is not as long as the layout says");
  if (!options.hosts.empty() && options.hosts.size() != static_cast<std::size_t>(links.size()))
    return invalid("the hosts of " + std::to_string(options.hosts.size()) + " workers for " +
                   std::to_string(links.size()));
  const RankSettings settings{optimizer, options.policy, options.shared_parameters, options.slices, options.hosts};
  auto exchange = std::make_unique<AllReduceExchange>(layout, settings, parameters, links, options.group);
  COHAUL_TRY(exchange->prepare(options));
  return std::unique_ptr<update::Exchange>(std::move(exchange));
}

}  // namespace cohaul::collective
