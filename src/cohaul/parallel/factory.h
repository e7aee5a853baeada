#pragma once
// Who makes a model's layers decides how they are split; the model says only which may be. No operator is intercepted.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "cohaul/collective/group.h"

namespace cohaul::parallel {

class Linear;  // cohaul/parallel/linear.h

enum class LinearKind {
  hidden,  ///< its outputs feed another layer: whole on every rank
  classes,  ///< its outputs are the logits: may be split over ranks; use them in the factory's cross_entropy and argmax only
};

/// Must outlive what it made. All of it is called by every rank in the same order; throws Error.
class Factory {
 public:
  virtual ~Factory() = default;
  virtual std::shared_ptr<Linear> linear(std::int64_t in, std::int64_t out, LinearKind kind) = 0;
  /// Mean over rows. logits: [n, this rank's classes] from a layer of kind `classes` with `classes` outputs in all; target: int64 [n].
  virtual at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& target, std::int64_t classes) = 0;
  /// int64 [n]: the largest class of each row, the lowest of equals.
  virtual at::Tensor argmax(const at::Tensor& logits, std::int64_t classes) = 0;
};

/// Every layer whole.
std::unique_ptr<Factory> whole_layers();
/// Layers of kind `classes` split over the group, which must outlive the factory. A group of one gives the bits of whole_layers().
std::unique_ptr<Factory> tensor_parallel_layers(collective::Group& group);

}  // namespace cohaul::parallel
