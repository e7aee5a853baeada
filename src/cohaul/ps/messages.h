#pragma once
// The messages between workers and servers: what a frame's kind, clock, key, body and payload mean. Bodies come from other
// processes, so every decoder checks bounds and returns `corrupt` for bad ones. The hello says which trainer a connection belongs to;
// each trainer of a job has its own (purpose_of).
//
//   kind              clock             key        body                              payload
//   worker → server
//   init              –                 –          Init                              the encoded Layout
//   initial           –                 partition  –                                 its initial parameters (worker 0 only)
//   push              own push number   partition  Push                              gradient of the partition; none: all absent
//                                                                                    (to the summing worker of the host: the clock is the step)
//   pull              min version       partition  the content that it has (i64)     –
//   plan              step              –          StepPlan                          –   (synchronous, answers facts)
//   assign            own assignments   partition  –                                 its new content (worker 0 only)
//   rates             own changes       –          Rates                             –
//   ready             own clock         –          Ready                             –   (to the coordinator)
//   leave_loop        own clock         –          LeaveLoop                         –   (to the coordinator)
//   step_done         step              –          StepDone                          –   (to the coordinator)
//   ask_stats         own questions     –          –                                 –
//   save              own questions     –          Save                              –   (worker 0 only, between steps)
//   restore           own questions     –          Restore                           –   (worker 0 only, before the first step)
//   swap              own questions     –          –                                 –   (worker 0 only, between steps)
//   goodbye           –                 –          –                                 –
//   server → worker
//   ack               its push number   partition  Ack                               –
//   params            version           partition  the content (i64)                 the partition's parameters; none: unchanged
//                                                                                    (one worker of a host passes them on)
//   facts             step              –          Measured                          of a watched step Σ x² by segment of the server's
//                                                                                    partitions (synchronous, asks for a plan)
//   assigned          its assignments   partition  the content (i64)                 –
//   grant             its clock         step       LoopState                         –
//   finished          its clock         –          LoopState                         –
//   left              its clock         –          LoopState                         –
//   step_report       step              –          StepReport                        –   (synchronous)
//   update_report     updates done      –          UpdateReport                      –   (asynchronous; to worker 0)
//   stats             –                 –          Stats of tables, of coordinator   –
//   saved             its question      –          –                                 –   (it has copied what it saves)
//   restored          its question      –          –                                 –
//   swapped           its question      –          –                                 –
//   refused           –                 –          Refusal                           –
//
// A push is identified by (sender, clock, first of its slices), a content by its number, which grows whenever the values of a partition change.

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/clock.h"
#include "cohaul/base/ids.h"
#include "cohaul/base/limits.h"
#include "cohaul/base/status.h"
#include "cohaul/ps/consistency.h"
#include "cohaul/update/absent.h"
#include "cohaul/update/gradient_policy.h"
#include "cohaul/update/optimizer_settings.h"
#include "cohaul/update/slices.h"
#include "cohaul/update/step_plan.h"

namespace cohaul::ps {

enum class Kind : std::uint16_t {
  init = 1,
  initial,
  push,
  pull,
  ready,
  step_done,
  ask_stats,
  goodbye,
  plan,
  assign,
  leave_loop,
  rates,
  save,
  restore,
  swap,
  ack = 64,
  params,
  grant,
  finished,
  step_report,
  update_report,
  stats,
  refused,
  facts,
  assigned,
  left,
  saved,
  restored,
  swapped,
};

/// Returns the hello's purpose: "ps 3" for the job's trainer 3.
std::string purpose_of(int trainer);
/// Returns the trainer; nothing if the purpose is something else.
std::optional<int> trainer_of(std::string_view purpose);

/// The settings of a server. All workers of a trainer must send the same.
struct Init {
  Consistency consistency;
  update::OptimizerSettings optimizer;
  update::GradientPolicy policy;
  std::int32_t workers = 1, servers = 1, slices = 1;
  std::uint64_t layout_hash = 0;
  bool operator==(const Init&) const = default;
  bool is_sync() const { return consistency.kind == Consistency::Kind::sync; }

  void encode(Writer& out) const;
  static Result<Init> decode(ConstBytes body);
};

/// A gradient of one partition, summed over a complete subtree of slices of one worker, or of several workers of one host. (Sender and incarnation
/// are those of the channel, the clock is the frame's.)
struct Push {
  Step step;
  update::SliceRange slices;
  double samples = 0;   // update::Gradient::samples
  double factor = 1;    // asynchronous: the factor of the sender's plan
  bool is_sum = false;  // it is a sum over several workers
  std::int32_t bad_parameter =
      -1;  // is_sum: the first whose gradient is not finite at one of them, by its index in the layout; -1: none
  std::int32_t bad_worker = -1;  // the worker that has it
  /// Which parameters of the partition's whole bucket are absent. A view.
  update::AbsentMask absent;

  void encode(Writer& out) const;
  static Result<Push> decode(ConstBytes body);
};
constexpr std::string_view kWeighAlike =
    "a gradient that is averaged over the batch, and another that is still to be averaged: all workers of a step "
    "must weigh their samples alike";

struct Ack {
  std::int64_t staleness = 0;  // number of pushes by others between this worker's pull of the partition and this push
  Version version;             // version of the partition that includes this push
  std::int32_t first = 0;      // first slice of the push

  void encode(Writer& out) const;
  static Result<Ack> decode(ConstBytes body);
};

/// What a server has measured on a step's gradients when it has all of them.
struct Measured {
  update::GradientFacts facts;
  double samples = 0;  // number of samples that they have still to be divided by

  void encode(Writer& out) const;
  static Result<Measured> decode(ConstBytes body);
};

/// Learning rates that replace those of the optimizer's groups. A worker sends them before its first push to which they apply.
struct Rates {
  std::vector<double> rates;

  void encode(Writer& out) const;
  static Result<Rates> decode(ConstBytes body);
};

/// A worker's request for a step of a loop. Worker 0 gets reports of updates as its request says.
struct Ready {
  std::int64_t loop = 0;   // its number
  std::int64_t steps = 0;  // of the loop, over all workers
  std::int64_t report_every = 0;
  std::string_view facts{};  // a view

  void encode(Writer& out) const;
  static Result<Ready> decode(ConstBytes body);
};

/// A worker leaves a loop. A step that it was granted and has not done is granted to another worker.
struct LeaveLoop {
  std::int64_t loop = 0;
  bool stop = false;  // true: the loop ends for all workers

  void encode(Writer& out) const;
  static Result<LeaveLoop> decode(ConstBytes body);
};

/// The state of a loop, as the coordinator sees it.
struct LoopState {
  std::int64_t loop = -1;           // its number; -1: none yet
  std::int64_t first = 0, end = 0;  // in updates since the start; if the loop ended early, end is what was done
  std::int64_t updates_done = 0;    // over all workers since the start
  bool operator==(const LoopState&) const = default;

  void encode(Writer& out) const;
  static Result<LoopState> decode(ConstBytes body);
};

struct StepDone {
  update::SliceRange slices;   // the worker's
  std::int64_t staleness = 0;  // staleness of the push: the maximum over partitions
  bool skipped = false;        // asynchronous: a gradient was not finite, so nothing was pushed
  std::string_view facts{};    // synchronous: what all workers must have alike from this step on. A view
  std::array<update::PartEnd, kPartsMax> ends{};  // one for each subtree of `slices`
  std::size_t parts = 0;                          // number of used elements of `ends`

  void set(std::span<const update::PartEnd> of_parts);  // at most kPartsMax
  std::span<const update::PartEnd> part_ends() const { return std::span(ends).first(parts); }

  void encode(Writer& out) const;
  static Result<StepDone> decode(ConstBytes body);
};
static_assert(kPartsMax * sizeof(update::PartEnd) + kFactsBytesMax + 64 <= transport::kBodyBytesMax);

/// The result of a synchronous step, over all workers.
struct StepReport {
  double loss = 0;  // mean over the batch
  bool counted_alike = true;
  std::uint8_t request = 0;  // as in update::StepOutcome

  void encode(Writer& out) const;
  static Result<StepReport> decode(ConstBytes body);
};

/// A report of an asynchronous update. Counts are since the last report.
struct UpdateReport {
  double loss = 0;  // loss of the push's batch
  std::int64_t pushes = 0, staleness_sum = 0, staleness_max = 0;
  std::int64_t gap_max = 0;  // since the start
  Duration elapsed = 0;      // by the coordinator's clock; for the first report since the loop's first request

  void encode(Writer& out) const;
  static Result<UpdateReport> decode(ConstBytes body);
};

/// Counts of one server, or of the coordinator, since the start.
struct Stats {
  std::int64_t pushes = 0;         // server: pushes applied, summed over its partitions; coordinator: steps done
  std::int64_t repeats = 0;        // server: repeated pushes, which were acknowledged and not applied
  std::int64_t staleness_sum = 0;  // over those pushes
  std::int64_t staleness_max = 0;
  std::int64_t gap_max = 0;  // coordinator: the maximum over all started steps of own clock minus the slowest's
  bool operator==(const Stats&) const = default;

  void encode(Writer& out) const;
  static Result<Stats> decode(Reader& in);
};

/// The checkpoint that a server takes its part from, and the number of updates that it has.
struct Restore {
  std::string checkpoint;
  std::int64_t updates = 0;

  void encode(Writer& out) const;
  static Result<Restore> decode(ConstBytes body);
};

/// The folder that a server writes its file into, and the prefix of the key, before its rank, under which it reports that in the job's store. Without
/// a key it writes nothing, and refuses if the folder that it sees does not have this mark (checkpoint::expect_shared).
struct Save {
  std::string folder, key, mark;

  void encode(Writer& out) const;
  static Result<Save> decode(ConstBytes body);
};

struct Refusal {
  Code code = Code::invalid;
  std::string why;

  void encode(Writer& out) const;
  static Result<Refusal> decode(ConstBytes body);
};

/// Decodes a body that is one value.
template <class T>
Result<T> decode_value(ConstBytes body, const char* what) {
  Reader in(body);
  T v = in.get<T>();
  if (!in.done()) return corrupt(std::string("an unreadable ") + what);
  return v;
}

}  // namespace cohaul::ps
