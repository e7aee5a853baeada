#pragma once
// The tree order of sum.h for values that come one by one: a value is kept for each complete subtree so far, like the
// digits of a binary counter, so at most log₂ + 1 of them.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

namespace cohaul::update {

/// T: default-constructible and movable. combine(left, right) → T sums two neighbours. Not thread-safe; allocates nothing itself.
template <class T>
class TreeFold {
 public:
  /// Adds the next leaf. Nothing: this leaf adds nothing, and its neighbour moves up unchanged.
  template <class Combine>
  void add(std::optional<T> leaf, Combine&& combine) {
    std::size_t k = 0;
    for (std::int64_t i = leaves_++; (i & 1) != 0; i >>= 1) leaf = pair(k++, std::move(leaf), combine);
    subtrees_[k] = std::move(leaf);
  }

  /// Returns the sum of all leaves so far, nothing if none added anything; it is then empty again.
  template <class Combine>
  std::optional<T> take(Combine&& combine) {
    std::optional<T> sum;
    for (std::size_t k = 0; k < subtrees_.size() && (leaves_ >> k) != 0; ++k) sum = pair(k, std::move(sum), combine);
    leaves_ = 0;
    return sum;
  }

  std::int64_t leaves() const { return leaves_; }

 private:
  /// Takes subtrees_[k] out and combines it with `right`, which comes after it.
  template <class Combine>
  std::optional<T> pair(std::size_t k, std::optional<T> right, Combine& combine) {
    std::optional<T> left = std::exchange(subtrees_[k], std::nullopt);
    if (left && right) return combine(*std::move(left), *std::move(right));
    return left ? std::move(left) : std::move(right);
  }

  std::array<std::optional<T>, 24> subtrees_;  // [k]: of 2^k leaves
  std::int64_t leaves_ = 0;
};

}  // namespace cohaul::update
