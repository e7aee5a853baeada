#include "cohaul/parallel/cross_entropy.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <limits>

#include "cohaul/base/error.h"

namespace cohaul::parallel {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

/// Returns all ranks' values [ranks, k, n]. mine: [k, n], this rank's.
at::Tensor gather(const at::Tensor& mine, collective::Group& group, const char* what) {
  at::Tensor all = at::empty({group.size(), mine.size(0), mine.size(1)}, mine.options());
  or_throw(group.all_gather(buffer(mine), buffer(all)).context(what));
  return all;
}

struct SplitCrossEntropy : torch::autograd::Function<SplitCrossEntropy> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& logits, const at::Tensor& target,
                            std::int64_t begin, collective::Group* group) {
    std::int64_t n = logits.size(0), width = logits.size(1);
    at::Tensor column = (target - begin).unsqueeze(1);             // [n, 1]
    at::Tensor here = column.ge(0).logical_and(column.lt(width));  // [n, 1]
    at::Tensor mine =
        at::zeros({3, n}, logits.options().requires_grad(false));  // maximum, Σ exp(logit − maximum), target's logit
    if (width > 0) {
      at::Tensor maximum = logits.amax(1);
      mine[0].copy_(maximum);
      mine[1].copy_((logits - maximum.unsqueeze(1)).exp_().sum(1));
      mine[2].copy_(logits.gather(1, column.clamp(0, width - 1)).masked_fill_(here.logical_not(), 0).squeeze(1));
    } else {
      mine[0].fill_(-std::numeric_limits<double>::infinity());
    }
    at::Tensor all = gather(mine, *group, "cross entropy over split classes");  // [ranks, 3, n]
    at::Tensor maximum = all.select(1, 0).amax(0);                              // [n]
    at::Tensor sum = (all.select(1, 1) * (all.select(1, 0) - maximum).exp_()).sum(0);
    at::Tensor log_sum = sum.log_();  // not added to the maximum, so that no precision is lost when that is large
    context->save_for_backward({(logits - maximum.unsqueeze(1)).sub_(log_sum.unsqueeze(1)).exp_(), column, here});
    return (log_sum + (maximum - all.select(1, 2).sum(0))).mean();
  }

  static tensor_list backward(AutogradContext* context, tensor_list gradient) {
    auto saved = context->get_saved_variables();
    at::Tensor logits = saved[0].clone();  // will be the softmax of this rank's columns
    if (logits.size(1) > 0) {
      logits.scatter_add_(1, saved[1].clamp(0, logits.size(1) - 1), saved[2].to(logits.scalar_type()).neg_());
    }
    logits.mul_(gradient[0] / logits.size(0));
    return {logits, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& target, const Part& classes,
                         collective::Group& group) {
  if (group.size() == 1) return at::cross_entropy_loss(logits, target);
  return SplitCrossEntropy::apply(logits, target, classes.begin, &group);
}

at::Tensor argmax(const at::Tensor& logits, const Part& classes, collective::Group& group) {
  if (group.size() == 1) return at::argmax(logits, 1);
  at::NoGradGuard no_grad;
  // Both a float and an index are exact as a double.
  at::Tensor mine = at::full({2, logits.size(0)}, -std::numeric_limits<double>::infinity(), at::kDouble);
  if (classes.size() > 0) {
    at::Tensor index = at::argmax(logits, 1, /*keepdim=*/true);
    mine[0].copy_(logits.gather(1, index).squeeze(1));
    mine[1].copy_(index.squeeze(1) + classes.begin);
  }
  at::Tensor all = gather(mine, group, "argmax over split classes");  // [ranks, 2, n]
  at::Tensor rank = all.select(1, 0).argmax(0, /*keepdim=*/true);     // the first of equals, so the lowest class
  return all.select(1, 1).gather(0, rank).squeeze(0).to(at::kLong);
}

}  // namespace cohaul::parallel
