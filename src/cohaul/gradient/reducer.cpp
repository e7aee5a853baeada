#include "cohaul/gradient/reducer.h"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <cstring>

#include "cohaul/update/sum.h"
#include "cohaul/update/tree_fold.h"

namespace cohaul::gradient {
namespace {

/// Neighbours' sum, in the left one's memory. Both are contiguous.
at::Tensor join(at::Tensor left, const at::Tensor& right) {
  auto n = static_cast<std::size_t>(left.numel());
  if (left.scalar_type() == at::kFloat) update::add(left.mutable_data_ptr<float>(), right.const_data_ptr<float>(), n);
  else update::add(left.mutable_data_ptr<double>(), right.const_data_ptr<double>(), n);
  return left;
}

}  // namespace

struct Reducer::State {
  const update::Layout& layout;
  update::Exchange& exchange;
  Bytes small;
  std::vector<at::Tensor> parameters;
  std::vector<update::TreeFold<at::Tensor>> folds;  // by parameter: over the slices so far
  std::vector<at::Tensor> sums;                     // by parameter: pushed, or waiting for the rest of its run
  std::vector<std::int32_t> waiting;                // by run: parameters without their sum yet
  std::vector<char> pushed;                         // by run
  std::vector<std::int32_t> absent;
  int slice = -1, slices = 1;
  bool open = false;
  Status status;

  State(const update::Layout& l, std::vector<at::Tensor> p, update::Exchange& e, Bytes s)
      : layout(l),
        exchange(e),
        small(s),
        parameters(std::move(p)),
        folds(parameters.size()),
        sums(parameters.size()),
        waiting(l.runs().size()),
        pushed(l.runs().size()) {
    absent.reserve(parameters.size());
  }

  bool last() const { return slice + 1 == slices; }

  /// A gradient of the open slice.
  void take(std::int32_t p, at::Tensor grad) {
    auto& fold = folds[static_cast<std::size_t>(p)];
    fold.add(grad.contiguous(), join);
    if (last()) complete(p, *fold.take(join));
  }

  /// Parameters that the open slice gave no gradient: the slice counts all the same, so that the next one is not taken for it.
  void skip_absent() {
    for (std::size_t p = 0; p < folds.size(); ++p)
      if (layout.run_of(static_cast<std::int32_t>(p)) >= 0 && folds[p].leaves() == slice)
        folds[p].add(std::nullopt, join);
  }

  void complete(std::int32_t p, at::Tensor sum) {
    std::int32_t run = layout.run_of(p);
    const update::Run& r = layout.runs()[static_cast<std::size_t>(run)];
    auto bytes = static_cast<std::size_t>(sum.nbytes());
    if (r.parameter_last - r.parameter_first == 1 && bytes >= update::kLargeBytes) {
      sums[static_cast<std::size_t>(p)] = std::move(sum);
      push(run, {static_cast<const std::byte*>(sums[static_cast<std::size_t>(p)].const_data_ptr()), bytes});
      return;
    }
    std::memcpy(small.data() + layout.offset(p), sum.const_data_ptr(), bytes);
    sums[static_cast<std::size_t>(p)] = parameters[static_cast<std::size_t>(p)];  // only a mark: it has a sum
    if (--waiting[static_cast<std::size_t>(run)] == 0) push(run, small.subspan(r.offset, r.bytes));
  }

  void push(std::int32_t run, ConstBytes gradient) {
    pushed[static_cast<std::size_t>(run)] = 1;
    if (status.ok()) status = exchange.push(run, gradient, absent);
  }

  /// The rest of a run after the last backward: parameters whose last slice gave no gradient, though earlier ones may have.
  void complete_late(std::int32_t run) {
    const update::Run& r = layout.runs()[static_cast<std::size_t>(run)];
    for (std::int32_t p = r.parameter_first; p < r.parameter_last && !pushed[static_cast<std::size_t>(run)]; ++p) {
      if (sums[static_cast<std::size_t>(p)].defined()) continue;
      if (auto rest = folds[static_cast<std::size_t>(p)].take(join)) complete(p, *std::move(rest));
      else absent.push_back(p), std::memset(small.data() + layout.offset(p), 0, layout.bytes(p));
    }
    if (!pushed[static_cast<std::size_t>(run)]) push(run, small.subspan(r.offset, r.bytes));
    absent.clear();
  }
};

namespace {

struct Hook final : torch::autograd::PostAccumulateGradHook {
  std::function<void(at::Tensor)> take;
  explicit Hook(std::function<void(at::Tensor)> f) : take(std::move(f)) {}
  void operator()(const torch::autograd::Variable& parameter) override { take(parameter); }
};

}  // namespace

Reducer::Reducer(const update::Layout& layout, std::vector<at::Tensor> parameters, update::Exchange& exchange,
                 Bytes small)
    : state_(std::make_shared<State>(layout, std::move(parameters), exchange, small)) {
  for (std::size_t p = 0; p < state_->parameters.size(); ++p) {
    if (layout.run_of(static_cast<std::int32_t>(p)) < 0) continue;
    std::weak_ptr<State> weak = state_;
    auto take = [weak, p](at::Tensor parameter) {
      std::shared_ptr<State> state = weak.lock();
      if (!state || !state->open) return;
      at::Tensor grad = std::move(parameter.mutable_grad());
      parameter.mutable_grad() = at::Tensor();
      state->take(static_cast<std::int32_t>(p), std::move(grad));
    };
    torch::autograd::impl::set_post_acc_grad_hooks(state_->parameters[p], std::make_unique<Hook>(std::move(take)));
  }
}

Reducer::~Reducer() {
  for (at::Tensor& p : state_->parameters)
    if (p.defined()) torch::autograd::impl::set_post_acc_grad_hooks(p, nullptr);
}

void Reducer::open_slice(int i, int slices) {
  State& s = *state_;
  s.slice = i;
  s.slices = slices;
  s.open = true;
  if (i > 0) return;
  for (std::size_t r = 0; r < s.waiting.size(); ++r) {
    const update::Run& run = s.layout.runs()[r];
    s.waiting[r] = run.parameter_last - run.parameter_first;
    s.pushed[r] = 0;
  }
}

Status Reducer::close_slice() {
  State& s = *state_;
  s.open = false;
  if (!s.last()) s.skip_absent();
  else
    for (std::size_t run = 0; run < s.waiting.size(); ++run)
      if (!s.pushed[run]) s.complete_late(static_cast<std::int32_t>(run));
  return s.status;
}

void Reducer::release() {
  for (at::Tensor& t : state_->sums) t = at::Tensor();
}

}  // namespace cohaul::gradient
