#pragma once
// The conversation between workers and servers: what a frame's kind, clock, key, body and payload mean. Bodies are foreign
// bytes when they come in: every decoder is bounds-checked and answers `corrupt`.
//
//   kind              clock             key        body                              payload
//   worker → server
//   init              –                 –          Init                              the encoded Layout
//   initial           –                 partition  –                                 its initial parameters (worker 0 only)
//   push              own push number   partition  Push                              gradient of the partition
//   pull              min version       partition  –                                 –
//   ready             own clock         –          Ready                             –   (to the coordinator)
//   step_done         step              –          StepDone                          –   (to the coordinator)
//   ask_stats         –                 –          –                                 –
//   goodbye           –                 –          –                                 –
//   server → worker
//   ack               its push number   partition  Ack                               –
//   params            version           partition  –                                 the partition's parameters
//   grant             its clock         step       –                                 –
//   finished          its clock         –          –                                 –
//   step_report       step              –          mean loss over the batch (f64)    –   (synchronous)
//   update_report     updates done      –          UpdateReport                      –   (asynchronous; to worker 0)
//   stats             –                 –          Stats of tables, of coordinator   –
//   refused           –                 –          Refusal                           –

#include <cstdint>
#include <string>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/ids.h"
#include "cohaul/base/status.h"
#include "cohaul/ps/consistency.h"
#include "cohaul/update/exchange.h"
#include "cohaul/update/rule.h"

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
  ack = 64,
  params,
  grant,
  finished,
  step_report,
  update_report,
  stats,
  refused,
};

constexpr std::int32_t kWorkersMax = 4096;
constexpr std::int32_t kSlicesMax = 1 << 20;

/// What a server must know before anything else. All workers say the same.
struct Init {
  Consistency consistency;
  update::RuleSettings rule;
  std::int32_t workers = 1, servers = 1, slices = 1;
  std::uint64_t layout_hash = 0;
  bool operator==(const Init&) const = default;

  void encode(Writer& out) const;
  static Result<Init> decode(ConstBytes body);
};

/// One worker's summed gradient of one partition. (Worker and incarnation are the channel's, the clock is the frame's.)
struct Push {
  Step step;
  update::SliceRange slices;
  update::StepSettings settings;
  /// One bit for each segment of the partition, set where its parameter got no gradient; empty: none is absent. A view.
  ConstBytes absent;

  void encode(Writer& out) const;
  static Result<Push> decode(ConstBytes body);
};

struct Ack {
  std::int64_t staleness = 0;  // pushes of others between this worker's pull of the partition and this push
  Version version;             // of the partition with this push in it

  void encode(Writer& out) const;
  static Result<Ack> decode(ConstBytes body);
};

/// A worker asks for a step number. Worker 0 is told of the loop's updates.
struct Ready {
  update::Loop loop;

  void encode(Writer& out) const;
  static Result<Ready> decode(ConstBytes body);
};

struct StepDone {
  double loss = 0;  // this worker's share
  update::SliceRange slices;
  std::int64_t staleness = 0;  // of the push: the maximum over partitions

  void encode(Writer& out) const;
  static Result<StepDone> decode(ConstBytes body);
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
