#include "cohaul/gradient/reducer.h"

#include <ATen/ops/empty_strided.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <optional>
#include <string>

#include "cohaul/gradient/graph.h"
#include "cohaul/update/sum.h"
#include "cohaul/update/tree_fold.h"

namespace cohaul::gradient {
namespace {

/// Returns the sum of two neighbours, in the left one's memory if nothing else uses that. Both have the same strides, without gaps.
at::Tensor combine(at::Tensor left, const at::Tensor& right) {
  if (left.storage().use_count() > 1)
    left = at::empty_strided(left.sizes(), left.strides(), left.options()).copy_(left);
  auto n = static_cast<std::size_t>(left.numel());
  if (left.scalar_type() == at::kFloat) update::add(left.mutable_data_ptr<float>(), right.const_data_ptr<float>(), n);
  else update::add(left.mutable_data_ptr<double>(), right.const_data_ptr<double>(), n);
  return left;
}

using AnyHook = torch::autograd::PostAccumulateGradHook;

struct Hook final : AnyHook {
  const std::uint64_t owner;  // number of the reducer that it belongs to
  std::function<void()> take;
  std::unique_ptr<AnyHook> users;  // the hook that the parameter had before
  Hook(std::uint64_t o, std::function<void()> f) : owner(o), take(std::move(f)) {}
  void operator()(const torch::autograd::Variable& parameter) override {
    if (users) (*users)(parameter);
    take();
  }
};

/// Returns a parameter's hook if it is a reducer's, otherwise null.
Hook* reducers_hook(const at::Tensor& parameter) {
  return dynamic_cast<Hook*>(torch::autograd::impl::post_acc_grad_hooks(parameter).get());
}

std::atomic<std::uint64_t> last_number{0};

}  // namespace

std::uint64_t reducers_made() { return last_number; }

std::size_t small_bytes(const update::Layout& layout, std::size_t parts) {
  return std::max<std::size_t>(layout.bytes() * parts, kAlignment);
}

struct Reducer::State {
  const update::Layout& layout;
  update::Exchange& exchange;
  const Bytes small;
  const std::uint64_t number = ++last_number;
  std::vector<at::Tensor> parameters;  // by index in the layout

  // State of the step.
  std::vector<update::SliceRange> parts;
  std::int32_t slice = 0;  // number of the next slice
  std::size_t part = 0;    // the part that it belongs to
  double samples = 0;
  std::vector<at::Tensor> held;  // gradients whose memory was pushed
  std::vector<char> present;     // by parameter: it got a gradient
  // State of the part.
  std::vector<update::TreeFold<at::Tensor>>
      folds;                                   // by parameter, over the slices so far; empty while parts have one slice
  std::vector<std::int32_t> missing;           // by bucket: number of parameters whose sum is missing
  std::vector<char> summed;                    // by parameter: its sum is there
  std::vector<char> pushed;                    // by bucket
  std::vector<std::vector<std::byte>> absent;  // by bucket
  // State of the slice.
  bool open = false;                      // true: hooks take gradients
  bool eager = false;                     // true: they do so at once, because each gradient comes only once
  std::span<const update::PartEnd> ends;  // Gradient::ends
  std::vector<char> taken;
  Status status;

  State(const update::Layout& l, std::vector<at::Tensor> p, update::Exchange& e, Bytes s)
      : layout(l),
        exchange(e),
        small(s),
        parameters(std::move(p)),
        present(parameters.size()),
        missing(l.buckets().size()),
        summed(parameters.size()),
        pushed(l.buckets().size()),
        absent(l.buckets().size()),
        taken(parameters.size()) {
    held.reserve(parameters.size());
  }

  std::size_t at(std::int32_t p) const { return static_cast<std::size_t>(p); }
  const update::Bucket& bucket_of(std::int32_t p) const { return layout.buckets()[at(layout.bucket_of(p))]; }
  const std::string& name(std::int32_t p) const { return layout.parameters()[at(p)].name; }
  bool ends_part() const { return slice + 1 == parts[part].last; }
  Bytes small_of_part() const { return small.subspan(part * layout.bytes(), layout.bytes()); }
  template <class F>
  void each_trained(F f) {
    for (std::int32_t p = 0; p < static_cast<std::int32_t>(parameters.size()); ++p)
      if (parameters[at(p)].defined()) f(p);
  }

  void begin_part() {
    for (std::size_t r = 0; r < missing.size(); ++r) {
      missing[r] = layout.buckets()[r].parameter_last - layout.buckets()[r].parameter_first;
      pushed[r] = layout.buckets()[r].reduce != update::Reduce::update;  // the reducer does not push buckets of buffers
      absent[r].clear();
    }
    std::fill(summed.begin(), summed.end(), 0);
    if (parts[part].size() > 1 && folds.empty()) folds.resize(parameters.size());
  }

  void clear_gradients() {
    each_trained([&](std::int32_t p) {
      at::Tensor& grad = parameters[at(p)].mutable_grad();
      if (grad.defined()) grad = at::Tensor();
    });
  }

  void hooked(std::int32_t p) {
    if (!open || !eager || !status.ok()) return;
    if (taken[at(p)]) {
      status = unsupported("the gradient of " + name(p) +
                           " came twice in one backward: a hook runs backward inside backward. Do it in a "
                           "torch::autograd::Function, or use torch::autograd::grad there");
      return;
    }
    take(p);
  }

  /// Moves the parameter's gradient out of `.grad`.
  void take(std::int32_t p) {
    at::Tensor grad = parameters[at(p)].mutable_grad().detach();
    parameters[at(p)].mutable_grad() = at::Tensor();
    taken[at(p)] = 1;
    Status fits = check(p, grad);
    if (status.ok()) status = fits;
    if (!status.ok()) return;
    if (grad.strides() != parameters[at(p)].strides())
      grad = at::empty_strided(parameters[at(p)].sizes(), parameters[at(p)].strides(), grad.options()).copy_(grad);
    if (parts[part].size() == 1) return complete(p, std::move(grad));
    folds[at(p)].add(std::move(grad), combine);
    if (ends_part()) complete(p, *folds[at(p)].take(combine));
  }

  Status check(std::int32_t p, const at::Tensor& grad) const {
    if (grad.layout() != at::kStrided)
      return unsupported("the gradient of " + name(p) +
                         " is sparse, and only dense ones can be trained so far: make the layer without sparse(true)");
    const at::Tensor& parameter = parameters[at(p)];
    if (grad.sizes() == parameter.sizes() && grad.scalar_type() == parameter.scalar_type() &&
        grad.nbytes() == layout.bytes(p))
      return {};
    return invalid("the gradient of " + name(p) +
                   " has another size or type than the parameter had when the trainer was made");
  }

  /// Handles a parameter's sum over the part's slices.
  void complete(std::int32_t p, at::Tensor sum) {
    const update::Bucket& bucket = bucket_of(p);
    const auto r = at(layout.bucket_of(p));
    auto bytes = static_cast<std::size_t>(sum.nbytes());
    summed[at(p)] = present[at(p)] = 1;
    if (bucket.parameter_last - bucket.parameter_first == 1 && bytes >= update::kLargeBytes) {
      const auto* data = static_cast<const std::byte*>(sum.const_data_ptr());
      held.push_back(std::move(sum));
      return push(r, {data, bytes});
    }
    if (bytes > 0) std::memcpy(small_of_part().data() + layout.offset(p), sum.const_data_ptr(), bytes);
    if (--missing[r] == 0) push(r, small_of_part().subspan(bucket.offset, bucket.bytes));
  }

  void push(std::size_t bucket, ConstBytes bytes) {
    pushed[bucket] = 1;
    if (status.ok())
      status = exchange.push(
          {static_cast<std::int32_t>(part), static_cast<std::int32_t>(bucket), bytes, absent[bucket], samples, ends});
  }

  /// Ends a slice, after its backward. A slice without a gradient for a parameter is counted too, so that the next one is not taken for it.
  void close_slice() {
    if (!eager)
      each_trained([&](std::int32_t p) {
        if (parameters[at(p)].grad().defined()) take(p);
      });
    if (parts[part].size() > 1 && !ends_part())
      each_trained([&](std::int32_t p) {
        if (!taken[at(p)]) folds[at(p)].add(std::nullopt, combine);
      });
    if (!ends_part()) return;
    for (std::size_t r = 0; r < pushed.size(); ++r)
      if (!pushed[r]) complete_late(r);
  }

  /// Completes a bucket whose parameters got no gradient in the last slice, though perhaps in earlier ones.
  void complete_late(std::size_t r) {
    const update::Bucket& bucket = layout.buckets()[r];
    std::int32_t absent_count = 0;
    const std::int32_t n = bucket.parameter_last - bucket.parameter_first;
    for (std::int32_t i = 0; i < n && !pushed[r]; ++i) {
      const std::int32_t p = bucket.parameter_first + i;
      if (summed[at(p)]) continue;
      std::optional<at::Tensor> rest;
      if (parts[part].size() > 1) rest = folds[at(p)].take(combine);
      if (rest) {
        complete(p, *std::move(rest));
      } else {
        update::set_absent(absent[r], at(i), at(n));
        ++absent_count;
      }
    }
    if (!pushed[r]) push(r, absent_count == n ? ConstBytes() : small_of_part().subspan(bucket.offset, bucket.bytes));
  }
};

Reducer::Reducer(const update::Layout& layout, std::vector<at::Tensor> parameters, update::Exchange& exchange,
                 Bytes small)
    : state_(std::make_shared<State>(layout, std::move(parameters), exchange, small)) {
  for (std::size_t p = 0; p < state_->parameters.size(); ++p) {
    at::Tensor& parameter = state_->parameters[p];
    if (!layout.is_trained(static_cast<std::int32_t>(p))) parameter = at::Tensor();
    if (!parameter.defined()) continue;
    std::weak_ptr<State> weak = state_;
    auto hook = std::make_unique<Hook>(state_->number, [weak, p] {
      if (std::shared_ptr<State> state = weak.lock()) state->hooked(static_cast<std::int32_t>(p));
    });
    torch::autograd::impl::materialize_autograd_meta(parameter);  // a frozen parameter may have none yet
    // The parameter no longer belongs to an older reducer, so that one's hook is removed.
    Hook* older = reducers_hook(parameter);
    hook->users = std::move(older ? older->users : torch::autograd::impl::post_acc_grad_hooks(parameter));
    torch::autograd::impl::set_post_acc_grad_hooks(parameter, std::move(hook));
  }
}

Reducer::~Reducer() {
  state_->each_trained([&](std::int32_t p) {
    const at::Tensor& parameter = state_->parameters[state_->at(p)];
    if (owns(p)) torch::autograd::impl::set_post_acc_grad_hooks(parameter, std::move(reducers_hook(parameter)->users));
  });
}

const std::vector<at::Tensor>& Reducer::parameters() const { return state_->parameters; }

bool Reducer::owns(std::int32_t p) const {
  const Hook* hook = reducers_hook(state_->parameters[state_->at(p)]);
  return hook != nullptr && hook->owner == state_->number;
}

void Reducer::begin(const update::SliceRange& slices) {
  State& s = *state_;
  s.parts = update::subtrees_of(slices);
  s.slice = slices.first;
  s.part = 0;
  s.samples = 0;
  s.status = {};
  s.held.clear();
  std::fill(s.present.begin(), s.present.end(), 0);
}

Status Reducer::backward(const at::Tensor& loss, const at::Tensor& weight, double samples,
                         std::span<const update::PartEnd> ends) {
  State& s = *state_;
  if (s.slice == s.parts[s.part].first) s.begin_part();
  s.samples = samples;
  s.clear_gradients();
  std::fill(s.taken.begin(), s.taken.end(), 0);
  const Graph graph = look_at_graph(loss, [&](const at::Tensor& leaf) {
    // The search ends at the first leaf that is not known.
    const Hook* hook = ends.empty() ? nullptr : reducers_hook(leaf);
    return hook != nullptr && hook->owner == s.number;
  });
  s.eager = !graph.has_own_functions;
  s.ends = graph.ends_in_known_leaves ? ends : std::span<const update::PartEnd>();
  s.open = true;
  try {
    loss.backward(weight);
  } catch (...) {
    s.open = false;
    throw;
  }
  s.open = false;
  if (s.status.ok()) s.close_slice();
  if (!s.status.ok()) return s.status;
  if (++s.slice == s.parts[s.part].last && s.part + 1 < s.parts.size()) ++s.part;
  return {};
}

void Reducer::release() { state_->held.clear(); }

void Reducer::abandon() {
  State& s = *state_;
  s.clear_gradients();
  s.held.clear();
  for (auto& fold : s.folds) fold = {};
}

bool Reducer::was_absent(std::int32_t p) const { return state_->present[state_->at(p)] == 0; }

}  // namespace cohaul::gradient
