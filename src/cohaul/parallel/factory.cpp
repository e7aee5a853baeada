#include "cohaul/parallel/factory.h"

#include <ATen/ops/argmax.h>
#include <ATen/ops/cross_entropy_loss.h>

#include "cohaul/parallel/cross_entropy.h"
#include "cohaul/parallel/linear.h"

namespace cohaul::parallel {
namespace {

class WholeLayers : public Factory {
 public:
  std::shared_ptr<Linear> linear(std::int64_t in, std::int64_t out, LinearKind) override {
    return std::make_shared<Linear>(in, out);
  }
  at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& target, std::int64_t) override {
    return at::cross_entropy_loss(logits, target);
  }
  at::Tensor argmax(const at::Tensor& logits, std::int64_t) override { return at::argmax(logits, 1); }
};

class TensorParallelLayers : public Factory {
 public:
  explicit TensorParallelLayers(collective::Group& group) : group_(group) {}
  std::shared_ptr<Linear> linear(std::int64_t in, std::int64_t out, LinearKind kind) override {
    return std::make_shared<Linear>(in, out, kind == LinearKind::classes ? &group_ : nullptr);
  }
  at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& target, std::int64_t classes) override {
    return parallel::cross_entropy(logits, target, part_of(classes, group_.rank(), group_.size()), group_);
  }
  at::Tensor argmax(const at::Tensor& logits, std::int64_t classes) override {
    return parallel::argmax(logits, part_of(classes, group_.rank(), group_.size()), group_);
  }

 private:
  collective::Group& group_;
};

}  // namespace

std::unique_ptr<Factory> whole_layers() { return std::make_unique<WholeLayers>(); }
std::unique_ptr<Factory> tensor_parallel_layers(collective::Group& group) {
  return std::make_unique<TensorParallelLayers>(group);
}

}  // namespace cohaul::parallel
