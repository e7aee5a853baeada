#pragma once
// Group: collectives over the ranks of a job. Sums are in tree order over ranks (update/sum.h), so every rank gets the same
// bits, whatever arrives first, over any transport. One direct exchange: every rank sends each owner its piece.

#include <cstddef>
#include <span>

#include "cohaul/base/dtype.h"
#include "cohaul/base/status.h"

namespace cohaul::collective {

/// A span of elements that the caller owns.
struct Buffer {
  std::byte* data = nullptr;
  std::size_t elements = 0;
  DType dtype = DType::float32;
  std::size_t bytes() const { return elements * size_of(dtype); }
};
inline Buffer buffer(std::span<float> s) { return {reinterpret_cast<std::byte*>(s.data()), s.size(), DType::float32}; }
inline Buffer buffer(std::span<double> s) { return {reinterpret_cast<std::byte*>(s.data()), s.size(), DType::float64}; }

/// Every rank calls every operation (send and receive: two ranks), in the same order, with the same sizes and types. It blocks
/// until done here; a rank that is lost, or that does not come within the group's timeout, is peer_lost, naming it and the operation.
/// Buffers may be used again at return. One thread.
/// The first failure poisons the group: later calls return it again. Ranks that call different things get an error (invalid,
/// poisons), if need be at their next call. Arguments that are wrong in themselves (a rank that is not there, a piece of a wrong
/// size) are invalid too, but poison nothing, since nothing has been sent.
class Group {
 public:
  virtual ~Group() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// data: in place; the sum over ranks.
  virtual Status all_reduce(Buffer data) = 0;
  /// in: n elements; out: this rank's piece of the sum: elements [⌊rank·n/size⌋, ⌊(rank+1)·n/size⌋).
  virtual Status reduce_scatter(Buffer in, Buffer out) = 0;
  /// in: this rank's piece (as cut by reduce_scatter of out.elements); out: all.
  virtual Status all_gather(Buffer in, Buffer out) = 0;
  virtual Status broadcast(Buffer data, int root) = 0;
  /// Returns when the channel has taken the data, which may be before `to` calls receive.
  virtual Status send(Buffer data, int to) = 0;
  virtual Status receive(Buffer data, int from) = 0;
  virtual Status barrier() = 0;
};

}  // namespace cohaul::collective
