#pragma once
// The conversation between the ranks of an all-reduce: what a frame's kind, clock, key, body and payload mean. Bodies are foreign bytes
// when they come in: every decoder is bounds-checked and answers `corrupt`.
//
//   kind           clock        key   body                         payload
//   each rank → all others that own a share of the run
//   gradient       step         run   GradientHead                 that owner's share of the gradient; none where all of it is absent
//   last_gradient  step         run   GradientHead, StepEnd        as gradient; the sender has left backward
//   each rank → those that get no last_gradient
//   end            step         –     StepEnd                      the loop's facts, where they are longer than kFactsInBodyMax
//   owner → all others
//   facts          step         –     update::GradientFacts        of a watched step the owner's squares (GradientSquares::of_owner)
//                                                                          (where the policy gathers facts)
//   updated        step         run   –                            the share's new parameters
//   unchanged      step         run   –                            –       (no parameter of the share was updated)
//   updated_all    step         –     –                            –       (parameters shared: once a step)
//   start and write
//   entering       steps done   op    –                            –       (to rank 0)
//   initial        steps done   op    –                            rank 0's parameters, where not shared
//   have           steps done   op    –                            –       (to rank 0)
//   owner → all others, where parameters are not shared
//   swapped        steps done   run   –                            the share's averages, or its parameters again
//   each rank → all others
//   left           steps done   –     –                            –       (the last frame)
//   failed         –            –     Failure                      –
//
// A step that is skipped needs no word of its owners: every rank decides so from the same facts, and who has sent its facts reads no
// gradient any more. `op` is 0 for start, 1 for write.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"
#include "cohaul/transport/channel.h"
#include "cohaul/update/absent.h"
#include "cohaul/update/layout.h"
#include "cohaul/update/slices.h"

namespace cohaul::collective {

/// A group (group.h) may use the same links between steps; its kinds are below these.
enum class RankKind : std::uint16_t {
  entering = 16,
  initial,
  have,
  gradient,
  last_gradient,
  end,
  facts,
  updated,
  unchanged,
  updated_all,
  swapped,
  left,
  failed,
};
constexpr bool is_rank_kind(std::uint16_t kind) { return kind >= static_cast<std::uint16_t>(RankKind::entering); }

constexpr std::size_t kFactsInBodyMax = 12 << 10;
constexpr std::size_t kFactsMax = 1 << 20;
constexpr std::size_t kFailureTextMax = 8 << 10;

/// What a gradient is of. A view.
struct GradientHead {
  std::int32_t part = 0;  // of the sender's parts
  update::AbsentMask absent{};

  void encode(Writer& out) const;
  static Result<GradientHead> decode(Reader& in);
};

/// The end of a step at one rank. A view.
struct StepEnd {
  std::span<const update::PartEnd> ends;  // of the sender's parts
  std::string_view facts{};               // of its loop; empty in all steps but a loop's first

  void encode(Writer& out) const;
  /// ends: as many as the sender has parts; filled. facts: a view of what was read.
  static Status decode(Reader& in, std::span<update::PartEnd> ends, std::string_view& facts);
};

// All of it, with the longest mask and 2·log2(kSlicesMax) ends, fits into a body.
static_assert(update::absent_mask_bytes(update::kRunParametersMax) + 41 * sizeof(update::PartEnd) + kFactsInBodyMax +
                  64 <=
              transport::kBodyBytesMax);

/// Why the sender can't go on, told to those that would wait for it.
struct Failure {
  Code code = Code::invalid;
  std::string why;

  void encode(Writer& out) const;
  static Result<Failure> decode(ConstBytes body);
};

}  // namespace cohaul::collective
