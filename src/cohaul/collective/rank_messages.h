#pragma once
// The conversation between the ranks of an all-reduce: what a frame's kind, clock, key, body and payload mean. Bodies are foreign bytes
// when they come in: every decoder is bounds-checked and answers `corrupt`.
//
//   kind           clock        key     body                         payload
//   each rank → all that own a portion of the bucket, or its host's rank that sums for an owner on another host
//   gradient       step         portion GradientHead                 that portion of the gradient; none where all of it is absent
//   last_gradient  step         portion GradientHead, StepEnd        as gradient; the sender has left backward
//   a rank that sums for its host → owner on another host, also after its end
//   gradient       step         portion GradientHead                 the portion of the sum of several parts; none where all of it is absent
//   each rank → those that get no last_gradient
//   end            step         –       StepEnd                      the loop's facts, where they are longer than kFactsInBodyMax
//   each rank that owns a portion or sums for its host → all others
//   facts          step         –       update::GradientFacts        of a watched step the sender's squares (GradientSquares::of_owner)
//                                                                            (where the policy gathers facts)
//   owner → ranks of its host that do not share its parameters, and one rank of each other host; that one → those of its host likewise
//   updated        step         portion –                            the portion's new parameters
//   unchanged      step         portion –                            –       (no parameter of the portion was updated)
//   swapped        steps done   portion –                            the portion's averages, or its parameters again
//   each rank that writes into the parameters of its host → those that share them
//   updated_all    step         –       –                            –       (all of its portions, and those of others that it got)
//   start and write
//   entering       steps done   op      –                            –       (to rank 0)
//   initial        steps done   op      –                            rank 0's parameters, where not shared (from rank 0 or its host's first rank)
//   have           steps done   op      –                            –       (to rank 0)
//   each rank → all others
//   left           steps done   –       –                            –       (the last frame)
//   failed         –            –       Failure                      –
//
// A step that is skipped needs no message of its owners: every rank decides so from the same facts, and a rank that has sent its facts reads no
// gradient any more. `op` is 0 for start, 1 for write; `portion` is a portion_key().

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "cohaul/base/bytes.h"
#include "cohaul/base/limits.h"
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

/// Returns the key that names a portion: its bucket, and in the upper half 1 + its owner, unless the owner is `plain`: the
/// receiver of a gradient, or the sender of values.
constexpr std::uint64_t portion_key(std::size_t bucket, int owner, int plain) {
  return std::uint64_t{bucket} | (owner == plain ? 0 : (static_cast<std::uint64_t>(owner) + 1) << 32);
}
constexpr std::size_t bucket_of(std::uint64_t portion_key) { return portion_key & 0xFFFF'FFFF; }
/// Returns the owner. The key is foreign, so that may be no rank.
constexpr std::uint64_t owner_of(std::uint64_t portion_key, int plain) {
  return portion_key >> 32 == 0 ? static_cast<std::uint64_t>(plain) : (portion_key >> 32) - 1;
}

/// Says what a gradient is of. A view.
struct GradientHead {
  std::int32_t part = 0;  // of the sender's parts; for a sum the first part in it
  update::AbsentMask absent{};

  void encode(Writer& out) const;
  static Result<GradientHead> decode(Reader& in);
};

/// The end of a step at one rank. A view.
struct StepEnd {
  std::span<const update::PartEnd> ends;  // of the sender's parts
  std::string_view facts{};               // of its loop; empty in all steps but a loop's first

  void encode(Writer& out) const;
  /// ends: gets as many as the sender has parts. facts: gets a view of what was read.
  static Status decode(Reader& in, std::span<update::PartEnd> ends, std::string_view& facts);
};

// All of it, with the longest mask and 2·log2(kSlicesMax) ends, fits into a body.
static_assert(update::absent_mask_bytes(update::kBucketParametersMax) + 41 * sizeof(update::PartEnd) + kFactsInBodyMax +
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
