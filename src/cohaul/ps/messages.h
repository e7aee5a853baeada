#pragma once
// The conversation between workers and servers: what a frame's kind, clock, key, body and payload mean. Bodies are foreign
// bytes when they come in: every decoder is bounds-checked and answers `corrupt`. Whose conversation it is stands in the hello:
// each trainer of a job has its own (purpose_of).
//
//   kind              clock             key        body                              payload
//   worker → server
//   init              –                 –          Init                              the encoded Layout
//   initial           –                 partition  –                                 its initial parameters (worker 0 only)
//   push              own push number   partition  Push                              gradient of the partition; none: all absent
//                                                                                    (to a worker that joins it: its clock is the step)
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
// A push is known by (sender, clock, first of its slices); a content by its number, which grows whenever the values of a partition change.

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

/// The hello's purpose: "ps 3" for the job's trainer 3.
std::string purpose_of(int trainer);
/// The trainer; nothing where the purpose is another.
std::optional<int> trainer_of(std::string_view purpose);

/// What a server must know before anything else. All workers of a trainer say the same.
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

/// A gradient of one partition, summed over a complete subtree of slices, which one worker has, or several of one host together. (Sender and
/// incarnation are the channel's, the clock is the frame's.)
struct Push {
  Step step;
  update::SliceRange slices;
  double samples = 0;      // update::Gradient::samples
  double factor = 1;       // asynchronous: what the sender's plan says
  bool is_joined = false;  // it is of several workers
  std::int32_t bad_parameter =
      -1;  // is_joined: the first whose gradient is not finite at one of them, by its index in the layout; -1: none
  std::int32_t bad_worker = -1;  // and at which
  /// Of the partition's whole run. A view.
  update::AbsentMask absent;

  void encode(Writer& out) const;
  static Result<Push> decode(ConstBytes body);
};
constexpr std::string_view kWeighAlike =
    "a gradient that is averaged over the batch, and another that is still to be averaged: all workers of a step "
    "must weigh their samples alike";

struct Ack {
  std::int64_t staleness = 0;  // pushes of others between this worker's pull of the partition and this push
  Version version;             // of the partition with this push in it
  std::int32_t first = 0;      // of the push's slices

  void encode(Writer& out) const;
  static Result<Ack> decode(ConstBytes body);
};

/// What a server knows of a step's gradients, of which it has all.
struct Measured {
  update::GradientFacts facts;
  double samples = 0;  // over which they are still to be averaged

  void encode(Writer& out) const;
  static Result<Measured> decode(ConstBytes body);
};

/// Rates of the optimizer's groups, in place of their own. A worker says it before its first push to which they apply.
struct Rates {
  std::vector<double> rates;

  void encode(Writer& out) const;
  static Result<Rates> decode(ConstBytes body);
};

/// A worker asks for a step of a loop. Worker 0 is told of the loop's updates as it asks.
struct Ready {
  std::int64_t loop = 0;   // its number
  std::int64_t steps = 0;  // of the loop, over all workers
  std::int64_t report_every = 0;
  std::string_view facts{};  // a view

  void encode(Writer& out) const;
  static Result<Ready> decode(ConstBytes body);
};

/// A worker does no more of a loop. The step that it was granted and has not done goes to others.
struct LeaveLoop {
  std::int64_t loop = 0;
  bool stop = false;  // the loop ends for all

  void encode(Writer& out) const;
  static Result<LeaveLoop> decode(ConstBytes body);
};

/// A loop as the coordinator has it.
struct LoopState {
  std::int64_t loop = -1;           // its number; -1: none yet
  std::int64_t first = 0, end = 0;  // updates since the start; where the loop was ended early, end is what was done
  std::int64_t updates_done = 0;    // over all workers since the start
  bool operator==(const LoopState&) const = default;

  void encode(Writer& out) const;
  static Result<LoopState> decode(ConstBytes body);
};

struct StepDone {
  update::SliceRange slices;                      // of the worker
  std::int64_t staleness = 0;                     // of the push: the maximum over partitions
  bool skipped = false;                           // asynchronous: a gradient was not finite, and nothing was pushed
  std::string_view facts{};                       // synchronous: what all must agree on from this step on. A view
  std::array<update::PartEnd, kPartsMax> ends{};  // of the subtrees that make up `slices`
  std::size_t parts = 0;                          // so many

  void set(std::span<const update::PartEnd> of_parts);  // at most kPartsMax
  std::span<const update::PartEnd> part_ends() const { return std::span(ends).first(parts); }

  void encode(Writer& out) const;
  static Result<StepDone> decode(ConstBytes body);
};
static_assert(kPartsMax * sizeof(update::PartEnd) + kFactsBytesMax + 64 <= transport::kBodyBytesMax);

/// What came of a synchronous step, over all workers.
struct StepReport {
  double loss = 0;  // mean over the batch
  bool counted_alike = true;
  std::uint8_t request = 0;  // as update::StepOutcome's

  void encode(Writer& out) const;
  static Result<StepReport> decode(ConstBytes body);
};

/// Of an update worth telling. Counts are since the report before.
struct UpdateReport {
  double loss = 0;  // of the push's batch
  std::int64_t pushes = 0, staleness_sum = 0, staleness_max = 0;
  std::int64_t gap_max = 0;  // since the start
  Duration elapsed = 0;      // by the coordinator's clock; of the first report since the loop's first ready

  void encode(Writer& out) const;
  static Result<UpdateReport> decode(ConstBytes body);
};

/// What one server, or the coordinator, has counted since the start.
struct Stats {
  std::int64_t pushes = 0;         // server: applied, summed over its partitions; coordinator: steps done
  std::int64_t repeats = 0;        // server: pushes acknowledged and not applied
  std::int64_t staleness_sum = 0;  // over those pushes
  std::int64_t staleness_max = 0;
  std::int64_t gap_max = 0;  // coordinator: over all starts of a step, own clock minus the slowest's
  bool operator==(const Stats&) const = default;

  void encode(Writer& out) const;
  static Result<Stats> decode(Reader& in);
};

/// The checkpoint that a server takes its part from, and the updates that had been done.
struct Restore {
  std::string checkpoint;
  std::int64_t updates = 0;

  void encode(Writer& out) const;
  static Result<Restore> decode(ConstBytes body);
};

/// The folder that a server writes its file into, and the beginning of the key, its rank follows, under which it says so in the job's store. No
/// key: it writes nothing, and refuses where the folder that it sees has not this mark (checkpoint::expect_shared).
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

/// A body that is one value.
template <class T>
Result<T> decode_value(ConstBytes body, const char* what) {
  Reader in(body);
  T v = in.get<T>();
  if (!in.done()) return corrupt(std::string("an unreadable ") + what);
  return v;
}

}  // namespace cohaul::ps
