#pragma once
// The norms of a step's gradients, parameter by parameter, to watch a training. Each owner tells the squares of its
// segments. Segments depend on the model alone and are added in the layout's order, so the norms have the same bits
// however parameters are shared out among owners.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/ids.h"
#include "cohaul/update/layout.h"

namespace cohaul::update {

/// The value of a parameter, or a segment of it, that got no gradient in any slice.
constexpr double kNoGradient = -1;

/// Σ x² of a step's gradient by segment of the layout, over all owners.
class GradientSquares {
 public:
  /// Keeps a reference to `layout`. Allocates here and in norms() and of_owner() only; nothing where `wanted` is
  /// false.
  GradientSquares(const Layout& layout, bool wanted)
      : layout_(layout), squares_(wanted ? layout.segments().size() : 0, kNoGradient) {}

  /// Returns the place for the squares of a partition's segments (measure()).
  std::span<double> of(PartitionId partition) {
    const Partition& p = layout_.partitions()[static_cast<std::size_t>(partition.value)];
    return std::span(squares_).subspan(p.segment_first, p.segment_last - p.segment_first);
  }
  /// Returns the squares of the partitions for which owns(id) is true, in the layout's order. Their owner sends them
  /// to the others.
  template <class Owns>
  std::vector<double> of_owner(const Owns& owns) {
    std::vector<double> out;
    each(owns, [&](double& square) { out.push_back(square); });
    return out;
  }
  /// Takes what another owner has sent of its partitions. Returns false, and takes nothing, where the length is
  /// wrong.
  template <class Owns>
  bool take(ConstBytes told, const Owns& owns) {
    std::size_t wanted = 0;
    each(owns, [&](double&) { wanted += sizeof(double); });
    if (told.size() != wanted) return false;
    each(owns, [&](double& square) {
      std::memcpy(&square, told.data(), sizeof square);
      told = told.subspan(sizeof square);
    });
    return true;
  }

  /// Returns, by parameter of the layout, the norm of its mean gradient; kNoGradient where it has none, and for
  /// buffers. samples: over which the sum is still to be averaged; 0: it is averaged already.
  std::vector<double> norms(double samples) const;

 private:
  template <class Owns, class F>
  void each(const Owns& owns, const F& f) {
    for (std::size_t p = 0; p < layout_.partitions().size(); ++p) {
      const PartitionId id(static_cast<std::int32_t>(p));
      if (!owns(id)) continue;
      for (double& square : of(id)) f(square);
    }
  }

  const Layout& layout_;
  std::vector<double> squares_;
};

}  // namespace cohaul::update
