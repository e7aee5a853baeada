#pragma once
// The interface of data sets: samples that are addressed by number and returned in batches.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace cohaul::data {

/// n samples. The tensors belong to the receiver. The memory of `input` is aligned to 64 bytes.
struct Batch {
  at::Tensor input;   // [n, …]
  at::Tensor target;  // [n, …]
};

/// A data set of size() samples, numbered from 0. get() returns copies of the samples `indices` in this order; a number may occur several times.
/// Several threads may call it at once. It throws std::out_of_range for a number outside [0, size()).
class DataSet {
 public:
  virtual ~DataSet() = default;
  virtual std::int64_t size() const = 0;
  virtual Batch get(std::span<const std::int64_t> indices) const = 0;
  /// Returns a number that differs between sets of different content and is equal on all workers. 0: unknown; then workers compare the sizes alone.
  virtual std::uint64_t fingerprint() const { return 0; }
};

}  // namespace cohaul::data
