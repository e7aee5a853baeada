#include "play.h"

#include <ATen/CPUGeneratorImpl.h>
#include <torch/autograd.h>
#include <torch/nn/functional/activation.h>
#include <torch/serialize.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <sstream>
#include <unordered_set>

#include "cohaul/base/random.h"

namespace cohaul::programs {
namespace {

constexpr std::uint64_t kOwnNumbers = 0x6f776e, kLoaded = 0x6c6f6164, kPlateauLosses = 0x706c6174;
constexpr double kOfSecond = 0.3;  // weight of the second model's output in the first model's loss

std::string before(int step) { return "before step " + std::to_string(step) + ": "; }

}  // namespace

std::vector<std::pair<std::string, at::Tensor>> distinct_parameters(torch::nn::Module& module) {
  std::vector<std::pair<std::string, at::Tensor>> out;
  std::unordered_set<c10::TensorImpl*> seen;
  for (const auto& item : module.named_parameters())
    if (seen.insert(item.value().unsafeGetTensorImpl()).second) out.emplace_back(item.key(), item.value());
  return out;
}

Play::Play(const Program& p, std::uint64_t init_seed) : program(p), net(p, init_seed) {
  if (p.second) second = Second(p, init_seed);
}

torch::nn::Module& Play::module(Which which) {
  if (which == Which::model) return *net;
  return *second;
}

void Play::seed(const Place& place) const {
  torch::manual_seed(mix_seed(program.seed ^ kOwnNumbers, static_cast<std::uint64_t>(place.step),
                              static_cast<std::uint64_t>(place.slice)));
}

at::Tensor Play::loss(Which which, const data::Batch& batch, const Place& place) {
  namespace F = torch::nn::functional;
  const Pass pass{.place = place,
                  .recompute = true,
                  .penalty = true,
                  .poison = which == Which::model,
                  .statistics = which == Which::model};
  if (which == Which::second) return F::softplus(-net->forward(second->forward(batch.input), pass)).mean();
  at::Tensor loss = net->loss(batch, pass);
  if (!program.second) return loss;
  return loss + kOfSecond * F::softplus(net->forward(second->forward(batch.input).detach(), pass)).mean();
}

void Play::events(int step, When when, Hands& hands, bool again) {
  quiet_ = again;
  for (const Event& e : program.events)
    if (e.step == step && e.when == when) perform(e, hands);
  quiet_ = false;
}

void Play::note(const std::string& what, double value, bool everywhere) {
  if (!quiet_) outcome_.observations.push_back({what, value, everywhere});
}

void Play::note(int step, Which which, const SeenStep& seen) {
  const std::string what =
      "step " + std::to_string(step) + (which == Which::model ? "" : " of the second model") + ": ";
  note(what + "loss", seen.loss);
  note(what + "skipped", seen.skipped);
  note(what + "update", static_cast<double>(seen.update));
  if (seen.norm && !seen.skipped) note(what + "norm", *seen.norm);
}

void Play::perform(const Event& event, Hands& hands) {
  switch (event.act) {
    case Act::probe_backward:
    case Act::probe_grad:
    case Act::probe_forward:
      if (!event.first_only || hands.first()) probe(event, !event.first_only);
      return;
    case Act::freeze:
    case Act::unfreeze:
      for (at::Tensor& p : net->parameters_of(event.layer)) p.set_requires_grad(event.act == Act::unfreeze);
      return;
    case Act::write:
    case Act::write_storage: return write(event, hands);
    case Act::load: return load(event.step);
    case Act::load_within_write: return hands.write([&] { load(event.step); });
    case Act::evaluate: {
      const Pass pass{.place = {event.step, 0}};
      const double mean = hands.evaluate([&](const data::Batch& b) { return net->loss(b, pass); });
      return note(before(event.step) + "evaluation", mean);
    }
    case Act::evaluate_by_hand: {
      const KeepModes modes(*net);
      torch::NoGradGuard no_grad;
      net->eval();
      const Samples test = test_set(program);
      const std::vector<std::int64_t> some = {0, 3, 5};
      return note(before(event.step) + "own evaluation",
                  net->loss(test.get(some), {.place = {event.step, 0}}).item<double>());
    }
    case Act::save: return hands.save();
    case Act::set_rate: return hands.set_rate(false, kRateByHand * program.rule.lr);
    case Act::set_group_rate: return hands.set_rate(true, kRateByHand * program.rule.lr);
    case Act::tell_plateau: {
      const std::uint64_t number = mix_seed(program.seed, kPlateauLosses, static_cast<std::uint64_t>(event.step));
      return hands.tell_plateau(static_cast<double>(1 + number % 3));
    }
    case Act::evaluate_averages: return averages(event.step, hands);
  }
}

void Play::averages(int step, Hands& hands) {
  if (model_keeps_averages(program))
    hands.with_averages(Which::model, [&] {
      const Pass pass{.place = {step, 0}};
      note(before(step) + "evaluation of averages",
           hands.evaluate([&](const data::Batch& b) { return net->loss(b, pass); }));
    });
  if (program.second && program.second_rule.ema > 0)
    hands.with_averages(Which::second, [&] {
      std::vector<at::Tensor> all;
      for (const auto& [name, p] : distinct_parameters(*second)) all.push_back(p);
      note(before(step) + "norm of the second model's averages", norm(all));
    });
}

void Play::probe(const Event& event, bool everywhere) {
  const KeepModes modes(*net);
  net->eval();  // so that it draws no random numbers
  const data::Batch batch = probe_batch(program, event.step);
  Pass pass{.place = {event.step, 0}};
  const std::string what = before(event.step) + "probe";
  if (event.act == Act::probe_forward) {
    torch::NoGradGuard no_grad;
    return note(what, net->loss(batch, pass).item<double>(), everywhere);
  }
  pass.penalty = true;
  std::vector<at::Tensor> gradients;
  if (event.act == Act::probe_backward) {
    pass.recompute = true;
    net->zero_grad();
    at::Tensor loss = net->loss(batch, pass);
    loss.backward();
    note(what, loss.item<double>(), everywhere);
    for (const auto& [name, p] : distinct_parameters(*net)) gradients.push_back(p.grad());
  } else {
    std::vector<at::Tensor> to;
    for (const auto& [name, p] : distinct_parameters(*net))
      if (p.requires_grad()) to.push_back(p);
    at::Tensor loss = net->loss(batch, pass);
    note(what, loss.item<double>(), everywhere);
    gradients = torch::autograd::grad({loss}, to, {}, std::nullopt, false, /*allow_unused=*/true);
  }
  note(what + "'s gradient", norm(gradients), everywhere);
}

double Play::norm(const std::vector<at::Tensor>& gradients) {
  double sum = 0;
  for (const at::Tensor& g : gradients)
    if (g.defined()) sum += g.detach().to(torch::kDouble).pow(2).sum().item<double>();
  return std::sqrt(sum);
}

void Play::write(const Event& event, Hands& hands) {
  hands.write([&] {
    torch::NoGradGuard no_grad;
    for (at::Tensor& p : net->parameters_of(event.layer)) {
      if (event.act == Act::write) p.mul_(0.9).add_(0.05);
      else p.set_data(p.detach().clone(at::MemoryFormat::Contiguous).mul_(0.8));
    }
  });
}

void Play::load(int step) {
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  const at::Tensor state = generator.get_state();  // restored later, as if the file came from elsewhere
  Net other(program, mix_seed(program.seed, kLoaded, static_cast<std::uint64_t>(step)));
  generator.set_state(state);
  torch::NoGradGuard no_grad;
  // The loaded parameters must have no gaps. A trainer would close them, and with other strides the next loss would be rounded differently in each
  // worker's first slice.
  for (at::Tensor& p : other->parameters())
    if (!p.is_non_overlapping_and_dense()) p.set_data(p.detach().contiguous());
  std::stringstream file;
  torch::save(other, file);
  torch::load(net, file);
}

void Play::begin() {
  beginnings_.clear();
  for (Which which : {Which::model, Which::second}) {
    if (which == Which::second && !program.second) continue;
    for (const auto& [name, p] : distinct_parameters(module(which))) beginnings_.push_back(p.detach().clone());
  }
}

Outcome Play::finish() {
  Net net_at_end = net;
  if (program.after) {
    const KeepModes modes(*net);
    net->eval();
    note("afterwards", net->loss(probe_batch(program, program.steps()), {}).item<double>());
    std::stringstream file;
    torch::save(net, file);
    net_at_end = Net(program, 0);
    torch::load(net_at_end, file);
  }
  for (const auto& item : net->named_buffers()) {
    const at::Tensor values = item.value().to(torch::kDouble).flatten();
    note(item.key(), values.dot(torch::arange(1, values.numel() + 1, torch::kDouble)).item<double>());
  }
  std::size_t i = 0;
  auto take = [&](torch::nn::Module& module, const std::string& prefix) {
    for (const auto& [name, p] : distinct_parameters(module)) {
      at::Tensor t = p.detach().contiguous();
      const auto* data = static_cast<const std::byte*>(t.const_data_ptr());
      outcome_.parameters.push_back(
          {prefix + name, t.scalar_type() == at::kDouble, {data, data + t.nbytes()}, !t.equal(beginnings_[i++])});
    }
  };
  take(*net_at_end, "");
  if (program.second) take(*second, "second.");
  return std::move(outcome_);
}

}  // namespace cohaul::programs
