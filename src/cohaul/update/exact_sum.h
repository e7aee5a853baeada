#pragma once
// A sum of non-negative doubles without rounding, so that it has the same bits in any order and however its terms are shared out.

#include <array>
#include <cstdint>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"

namespace cohaul::update {

/// A fixed-point number wide enough for every double. Does not allocate. (Kulisch, "Computer arithmetic and validity", 2013.)
class ExactSum {
 public:
  /// Adds a value, finite and not below 0. At most 2^31 additions (merges count as one).
  void add(double value);
  void merge(const ExactSum& other);
  /// Returns the sum as a double, rounded by one rule from the exact value; infinity where it is larger than any.
  double value() const;

  void encode(Writer& out) const;
  static Result<ExactSum> decode(Reader& in);  // corrupt
  bool operator==(const ExactSum& other) const { return normal() == other.normal(); }

 private:
  // Limb k counts units of 2^(32k - 1088); the smallest double is 2^-1074.
  static constexpr int kLimbs = 68, kBias = 1088;
  using Limbs = std::array<std::uint64_t, kLimbs>;
  /// Returns the limbs with each below 2^32.
  Limbs normal() const;

  Limbs limbs_{};
};

}  // namespace cohaul::update
