#pragma once
// Factories of layers. A model asks a factory for its layers and says which of them may be split; the factory decides whether they are.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

namespace cohaul::collective {
class Group;
}

namespace cohaul::parallel {

class Linear;  // cohaul/parallel/linear.h

enum class LinearKind {
  hidden,  ///< its outputs are inputs of another layer: it is whole on every rank
  /// Its outputs are the logits: it may be split over ranks. Pass them only to the factory's cross_entropy and argmax.
  classes,
};

/// Makes layers, and computes with their outputs. It must outlive the layers. Every rank makes the same calls in the same order. Throws
/// Error.
class Factory {
 public:
  virtual ~Factory() = default;
  virtual std::shared_ptr<Linear> linear(std::int64_t in, std::int64_t out, LinearKind kind) = 0;
  /// Returns the mean cross entropy over rows. logits: [n, this rank's classes], from a layer of kind `classes` with `classes` outputs over all
  /// ranks; target: int64 [n].
  virtual at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& target, std::int64_t classes) = 0;
  /// Returns int64 [n]: the class with the largest logit in each row, the lowest of equals.
  virtual at::Tensor argmax(const at::Tensor& logits, std::int64_t classes) = 0;
};

/// Returns a factory that splits no layer.
std::unique_ptr<Factory> whole_layers();
/// Returns a factory that splits layers of kind `classes` over the group, which must outlive it. With a group of one, results have the bits of
/// whole_layers().
std::unique_ptr<Factory> tensor_parallel_layers(collective::Group& group);

}  // namespace cohaul::parallel
