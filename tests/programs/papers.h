#pragma once
// LARS and LAMB written from their papers, tensor by tensor, like LibTorch's optimizers.

#include <torch/optim/optimizer.h>

#include <cmath>
#include <unordered_map>

namespace cohaul::programs {

struct LayerwiseOptions : torch::optim::OptimizerCloneableOptions<LayerwiseOptions> {
  explicit LayerwiseOptions(double lr) : lr_(lr) {}
  double get_lr() const override { return lr_; }
  void set_lr(const double lr) override { lr_ = lr; }
  bool lars = false;  // true: LARS; false: LAMB
  double momentum = 0, decay = 0, eps = 0, coefficient = 0;
  bool trust = true;

 private:
  double lr_;
};

class Layerwise final : public torch::optim::Optimizer {
 public:
  explicit Layerwise(const std::vector<torch::optim::OptimizerParamGroup>& groups)
      : Optimizer(groups, std::make_unique<LayerwiseOptions>(1)) {
    // LibTorch replaces a group's options by the defaults if it takes them for unset, and it cannot judge options that it does not know.
    for (std::size_t g = 0; g < groups.size(); ++g)
      param_groups()[g].set_options(
          std::make_unique<LayerwiseOptions>(static_cast<const LayerwiseOptions&>(groups[g].options())));
  }

  at::Tensor step(LossClosure closure = nullptr) override {
    TORCH_CHECK(closure == nullptr, "these have no closure");
    const at::NoGradGuard no_grad;
    for (auto& group : param_groups()) {
      const auto& o = static_cast<const LayerwiseOptions&>(group.options());
      for (at::Tensor& w : group.params()) {
        if (!w.grad().defined()) continue;
        Kept& kept = kept_[w.unsafeGetTensorImpl()];
        if (++kept.steps == 1) kept.first = at::zeros_like(w), kept.second = at::zeros_like(w);
        if (o.lars) lars(w, kept, o);
        else lamb(w, kept, o);
      }
    }
    return {};
  }

 private:
  struct Kept {
    std::int64_t steps = 0;
    at::Tensor first, second;
  };
  static double norm(const at::Tensor& t) { return std::sqrt(t.to(at::kDouble).pow(2).sum().item<double>()); }

  /// You, Gitman, Ginsburg (2017), algorithm 1.
  static void lars(at::Tensor& w, Kept& kept, const LayerwiseOptions& o) {
    const double of_w = norm(w), of_g = norm(w.grad());
    double local = 1;
    if (o.trust && of_w > 0 && of_g > 0) local = o.coefficient * of_w / (of_g + o.decay * of_w);
    kept.first.mul_(o.momentum).add_(w.grad() + o.decay * w, o.get_lr() * local);
    w.sub_(kept.first);
  }
  /// You et al. (2020), algorithm 2.
  static void lamb(at::Tensor& w, Kept& kept, const LayerwiseOptions& o) {
    constexpr double kBeta1 = 0.9, kBeta2 = 0.999;
    const auto t = static_cast<double>(kept.steps);
    kept.first.mul_(kBeta1).add_(w.grad(), 1 - kBeta1);
    kept.second.mul_(kBeta2).add_(w.grad() * w.grad(), 1 - kBeta2);
    const at::Tensor mean = kept.first / (1 - std::pow(kBeta1, t)), square = kept.second / (1 - std::pow(kBeta2, t));
    const at::Tensor direction = mean / (square.sqrt() + o.eps) + o.decay * w;
    const double of_w = norm(w), of_d = norm(direction);
    w.sub_(direction, o.get_lr() * (o.trust && of_w > 0 && of_d > 0 ? of_w / of_d : 1));
  }

  std::unordered_map<const at::TensorImpl*, Kept> kept_;
};

}  // namespace cohaul::programs
