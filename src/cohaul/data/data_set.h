#pragma once
// What a model learns from: samples by number, in batches.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace cohaul::data {

/// n samples. The tensors are the receiver's own; input starts on 64 bytes.
struct Batch {
  at::Tensor input;   // [n, …]
  at::Tensor target;  // [n, …]
};

/// size() samples, numbered from 0. get() copies the samples of `indices`, in their order (repeats allowed), into fresh tensors; it may be called by
/// several threads at once; it throws std::out_of_range for an index outside [0, size()).
class DataSet {
 public:
  virtual ~DataSet() = default;
  virtual std::int64_t size() const = 0;
  virtual Batch get(std::span<const std::int64_t> indices) const = 0;
  /// A number that tells sets of other content apart, equal on all workers; 0: unknown, so that workers compare the size alone.
  virtual std::uint64_t fingerprint() const { return 0; }
};

}  // namespace cohaul::data
