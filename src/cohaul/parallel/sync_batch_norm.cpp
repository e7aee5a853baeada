#include "cohaul/parallel/sync_batch_norm.h"

#include <ATen/Functions.h>
#include <torch/csrc/autograd/custom_function.h>

#include <stdexcept>
#include <utility>
#include <vector>

#include "cohaul/base/error.h"
#include "cohaul/collective/group.h"
#include "cohaul/parallel/split.h"

namespace cohaul::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

/// Returns all dims except that of the features.
std::vector<std::int64_t> other_dims(const at::Tensor& x) {
  std::vector<std::int64_t> out;
  for (std::int64_t d = 0; d < x.dim(); ++d)
    if (d != 1) out.push_back(d);
  return out;
}

/// Returns a tensor [features] in a shape that broadcasts with x.
at::Tensor along(const at::Tensor& t, const at::Tensor& x) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(x.dim()), 1);
  shape[1] = t.size(0);
  return t.view(shape);
}

/// Statistics of one batch, in float64 [features]: the number of values of each feature, their mean, and the sum of squared differences from it.
struct Statistics {
  double count = 0;
  at::Tensor mean, squares;
};

Statistics statistics_of(const at::Tensor& x) {
  const at::Tensor wide = x.to(at::kDouble);
  const std::vector<std::int64_t> dims = other_dims(x);
  Statistics s;
  s.count = static_cast<double>(x.numel()) / static_cast<double>(x.size(1));
  if (s.count == 0) return {0, at::zeros({x.size(1)}, at::kDouble), at::zeros({x.size(1)}, at::kDouble)};
  s.mean = wide.mean(dims);
  s.squares = (wide - along(s.mean, x)).square().sum(dims);
  return s;
}

/// Returns the statistics of two batches together (Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
/// variances", 1979).
Statistics merged(const Statistics& a, const Statistics& b) {
  const double count = a.count + b.count;
  if (a.count == 0 || b.count == 0) return a.count == 0 ? b : a;
  const at::Tensor apart = b.mean - a.mean;
  return {count, a.mean + apart * (b.count / count),
          a.squares + b.squares + apart.square() * (a.count * b.count / count)};
}

/// Returns the statistics of all ranks' batches together, with the same bits on every rank.
Statistics of_all(const Statistics& mine, collective::Group* group) {
  if (group == nullptr || group->size() == 1) return mine;
  const std::int64_t features = mine.mean.size(0);
  const at::Tensor own = at::cat({at::full({1}, mine.count, at::kDouble), mine.mean, mine.squares});
  const at::Tensor all = at::empty({group->size(), 1 + 2 * features}, at::kDouble);
  or_throw(group->all_gather(buffer(own), buffer(all)).context("statistics of a batch norm"));
  Statistics sum;
  for (int r = 0; r < group->size(); ++r) {
    const at::Tensor row = all[r];
    const Statistics theirs{row[0].item<double>(), row.narrow(0, 1, features), row.narrow(0, 1 + features, features)};
    sum = r == 0 ? theirs : merged(sum, theirs);
  }
  return sum;
}

struct Normalise : torch::autograd::Function<Normalise> {
  /// mean, scale: float64 [features]; scale: 1/√(variance + ε). Returns x̂.
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& mean,
                            const at::Tensor& scale, double count, collective::Group* group) {
    at::Tensor out = ((x - along(mean, x)) * along(scale, x)).to(x.scalar_type());
    context->save_for_backward({out, scale});
    context->saved_data["count"] = count;
    context->saved_data["group"] = reinterpret_cast<std::int64_t>(group);
    return out;
  }
  /// Every x̂ depends on every x through mean and variance, so the sums are over all ranks.
  static tensor_list backward(AutogradContext* context, tensor_list gradient) {
    if (at::GradMode::is_enabled())
      throw std::runtime_error("SyncBatchNorm can be differentiated once: it has no gradient of its gradient");
    const tensor_list saved = context->get_saved_variables();
    const at::Tensor &out = saved[0], &scale = saved[1], &dy = gradient[0];
    auto* group = reinterpret_cast<collective::Group*>(context->saved_data["group"].toInt());
    const std::vector<std::int64_t> dims = other_dims(out);
    at::Tensor sums =
        at::stack({dy.sum(dims, false, at::kDouble), (dy * out).sum(dims, false, at::kDouble)}).contiguous();
    if (group != nullptr && group->size() > 1)
      or_throw(group->all_reduce(buffer(sums)).context("gradients of a batch norm"));
    sums = sums / context->saved_data["count"].toDouble();
    const at::Tensor dx = (dy - along(sums[0], dy) - out * along(sums[1], dy)) * along(scale, dy);
    return {dx.to(dy.scalar_type()), at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

void expect_features(const at::Tensor& x, std::int64_t features, std::int64_t dims_min, std::int64_t dims_max) {
  if (x.dim() < dims_min || x.dim() > dims_max || x.size(1) != features)
    throw std::invalid_argument("SyncBatchNorm of " + std::to_string(features) + " features got " +
                                std::to_string(x.dim()) + " dims" +
                                (x.dim() > 1 ? ", the second of size " + std::to_string(x.size(1)) : std::string()));
}

}  // namespace

SyncBatchNorm::SyncBatchNorm(const torch::nn::BatchNormOptions& options, collective::Group* group)
    : options_(options), group_(group) {
  if (!options.track_running_stats())
    throw std::invalid_argument(
        "SyncBatchNorm without running statistics would exchange those of the batch in evaluation too, which is not "
        "supported: leave track_running_stats on");
  const std::int64_t n = options.num_features();
  if (options.affine()) {
    weight = register_parameter("weight", at::empty({n}));
    bias = register_parameter("bias", at::empty({n}));
  }
  running_mean = register_buffer("running_mean", at::empty({n}));
  running_var = register_buffer("running_var", at::empty({n}));
  num_batches_tracked = register_buffer("num_batches_tracked", at::empty({}, at::kLong));
  reset_parameters();
}

void SyncBatchNorm::reset_parameters() {
  at::NoGradGuard no_grad;
  if (weight.defined()) weight.fill_(1), bias.zero_();
  running_mean.zero_();
  running_var.fill_(1);
  num_batches_tracked.zero_();
}

at::Tensor SyncBatchNorm::normalise(const at::Tensor& x) {
  at::Tensor mean, variance;
  double count = 0;
  if (is_training()) {
    at::NoGradGuard no_grad;
    const Statistics all = of_all(statistics_of(x.detach()), group_);
    count = all.count;
    if (count < 2)
      throw std::invalid_argument(
          "SyncBatchNorm in training needs at least two values of each feature, over all workers");
    mean = all.mean;
    variance = all.squares / count;
    num_batches_tracked.add_(1);
    const double part = options_.momentum() ? *options_.momentum() : 1.0 / num_batches_tracked.item<double>();
    running_mean.mul_(1 - part).add_(mean, part);
    running_var.mul_(1 - part).add_(all.squares / (count - 1), part);
  } else {
    mean = running_mean.to(at::kDouble);
    variance = running_var.to(at::kDouble);
  }
  const at::Tensor scale = (variance + options_.eps()).rsqrt();
  at::Tensor out = is_training() ? Normalise::apply(x, mean, scale, count, group_)
                                 : ((x - along(mean, x)) * along(scale, x)).to(x.scalar_type());
  if (weight.defined()) out = out * along(weight, x) + along(bias, x);
  return out;
}

at::Tensor SyncBatchNorm1dImpl::forward(const at::Tensor& x) {
  expect_features(x, running_mean.size(0), 2, 3);
  return normalise(x);
}

at::Tensor SyncBatchNorm2dImpl::forward(const at::Tensor& x) {
  expect_features(x, running_mean.size(0), 4, 4);
  return normalise(x);
}

}  // namespace cohaul::parallel
