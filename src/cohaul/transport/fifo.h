#pragma once
// Fifo: a queue whose slots are used again, with whatever memory their elements hold; it allocates only to grow.

#include <cstddef>
#include <utility>
#include <vector>

namespace cohaul::transport {

template <class T>
class Fifo {
 public:
  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }
  T& front() { return slots_[first_]; }
  const T& front() const { return slots_[first_]; }
  T& operator[](std::size_t i) { return slots_[(first_ + i) & (slots_.size() - 1)]; }
  /// Adds a last element and returns it: a used slot as it was left, or a fresh one.
  T& push() {
    if (size_ == slots_.size()) grow();
    return (*this)[size_++];
  }
  /// Removes the first element. Its slot is not destroyed, so first clear what must be freed.
  void pop() {
    first_ = (first_ + 1) & (slots_.size() - 1);
    --size_;
  }

 private:
  void grow() {
    std::vector<T> bigger(slots_.empty() ? 8 : slots_.size() * 2);
    for (std::size_t i = 0; i < size_; ++i) bigger[i] = std::move((*this)[i]);
    slots_ = std::move(bigger);
    first_ = 0;
  }
  std::vector<T> slots_;  // a power of two
  std::size_t first_ = 0, size_ = 0;
};

}  // namespace cohaul::transport
