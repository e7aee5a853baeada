#include "net.h"

#include <torch/autograd.h>
#include <torch/nn/functional/loss.h>
#include <torch/types.h>

#include <cmath>
#include <limits>

#include "cohaul/base/random.h"

namespace cohaul::programs {
namespace {

namespace nn = torch::nn;
constexpr int kWideLinear = 257, kWideVocabulary = 2'060, kWideDrift = 20'000;
constexpr int kCrowd = 4'500, kCrowdShare = 5;  // more than 4,096 parameters, of which each slice uses every fifth

at::Tensor activate(Activation activation, const at::Tensor& h) {
  switch (activation) {
    case Activation::none: return h;
    case Activation::tanh: return torch::tanh(h);
    case Activation::silu: return torch::silu(h);
    case Activation::gelu: return torch::gelu(h);
    case Activation::relu: return torch::relu(h);
  }
  return h;
}

/// Activation checkpointing as users write it: forward builds no graph; backward computes forward again and differentiates it.
struct Recompute : torch::autograd::Function<Recompute> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, at::Tensor h, at::Tensor tokens,
                            std::int64_t segment) {
    context->save_for_backward({h, tokens});
    context->saved_data["segment"] = segment;
    torch::NoGradGuard no_grad;
    return run(segment, h, tokens);
  }
  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context,
                                               const torch::autograd::tensor_list& gradients) {
    const auto saved = context->get_saved_variables();
    at::Tensor h = saved[0].detach().requires_grad_();
    torch::AutoGradMode with_graph(true);
    at::Tensor out = run(context->saved_data["segment"].toInt(), h, saved[1]);
    if (out.requires_grad()) out.backward(gradients[0]);
    return {h.grad(), at::Tensor(), at::Tensor()};
  }
  static at::Tensor run(std::int64_t segment, const at::Tensor& h, const at::Tensor& tokens) {
    const auto& s = *reinterpret_cast<const Segment*>(segment);  // NOLINT: a number is all that a context keeps
    return s.net->apply(s.layer, h, tokens);
  }
};

at::TensorOptions options(const Program& program) {
  return at::TensorOptions().dtype(program.float64 ? at::kDouble : at::kFloat);
}

/// Fills t with uniform numbers in ± range, from (seed, stream).
void fill(const at::Tensor& t, double range, std::uint64_t seed, std::uint64_t stream) {
  at::Tensor values = torch::empty(t.sizes(), torch::kDouble);
  Random random(seed, stream);
  auto* v = values.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < values.numel(); ++i) v[i] = range * (2 * random.uniform() - 1);
  torch::NoGradGuard no_grad;
  t.copy_(values);
}

void fill_all(torch::nn::Module& module, std::uint64_t seed) {
  std::uint64_t stream = 0;
  for (at::Tensor& p : module.parameters()) {
    if (p.numel() == 0) continue;
    const double fan = p.dim() > 1 ? static_cast<double>(p.numel() / p.size(0)) : 4;
    fill(p, 1 / std::sqrt(fan), seed, stream++);
  }
}

at::Tensor with_gaps(const at::Tensor& t) {
  at::Tensor room = torch::zeros({t.size(0), t.size(1) + 3}, t.options().requires_grad(false));
  at::Tensor out = room.narrow(1, 1, t.size(1));
  out.copy_(t.detach());
  return out;
}

at::Tensor in_strides(const at::Tensor& t, Strides strides) {
  torch::NoGradGuard no_grad;
  if (strides == Strides::transposed && t.dim() == 2) return t.detach().t().contiguous().t();
  if (strides == Strides::gaps && t.dim() == 2) return with_gaps(t);
  if (strides == Strides::channels_last && t.dim() == 4) return t.detach().contiguous(at::MemoryFormat::ChannelsLast);
  return t.detach();
}

}  // namespace

NetImpl::NetImpl(const Program& program, std::uint64_t init_seed) : program_(program) {
  for (std::size_t i = 0; i < program.layers.size(); ++i) {
    const Layer& layer = program.layers[i];
    parts_.push_back(layer.tied >= 0 ? parts_[static_cast<std::size_t>(layer.tied)] : make(layer));
    Part& part = parts_.back();
    const std::string name = "layer" + std::to_string(i);
    if (part.linear) register_module(name, part.linear);
    if (part.convolution) register_module(name, part.convolution);
    if (part.norm) register_module(name, part.norm);
    if (part.embedding) register_module(name, part.embedding);
    if (part.recurrent) register_module(name, part.recurrent);
    if (layer.statistics && layer.tied < 0) {
      part.running = register_buffer("running" + std::to_string(i), torch::zeros({program.width}));
      part.count = register_buffer("count" + std::to_string(i), torch::zeros({}, torch::kLong));
    }
    part.dropout = layer.dropout ? register_module("dropout" + std::to_string(i), nn::Dropout(0.3)) : nullptr;
    segments_.push_back({this, i});
  }
  head_ = register_module("head", nn::Linear(program.width, program.outputs));
  add_odd_parameters();
  gain_ = register_buffer("gain", torch::ones({program.width}));
  to(options(program).dtype().toScalarType());
  if (program.odd) scale_.set_data(scale_.to(torch::kDouble));
  draw_parameters(init_seed);
  stride_weights();
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    if (program.layers[i].frozen)
      for (at::Tensor& p : parameters_of(static_cast<int>(i))) p.set_requires_grad(false);
    if (parts_[i].dropout && program.layers[i].dropout_off) parts_[i].dropout->eval();
  }
}

NetImpl::Part NetImpl::make(const Layer& layer) {
  Part part;
  const int width = program_.width;
  switch (layer.kind) {
    case Kind::linear: part.linear = nn::Linear(width, layer.wide ? width * kWideLinear : width); break;
    case Kind::convolution: part.convolution = nn::Conv2d(nn::Conv2dOptions(2, width, 3).padding(1)); break;
    case Kind::layer_norm: part.norm = nn::LayerNorm(nn::LayerNormOptions({width})); break;
    case Kind::embedding: part.embedding = nn::Embedding(layer.wide ? kWideVocabulary : kVocabulary, width); break;
    case Kind::recurrent: part.recurrent = nn::GRU(nn::GRUOptions(2, width).batch_first(true)); break;
  }
  return part;
}

void NetImpl::add_odd_parameters() {
  if (program_.drift) drift_ = register_parameter("drift", torch::zeros({program_.drift_wide ? kWideDrift : 5}));
  for (int i = 0; program_.crowd && i < kCrowd; ++i)
    crowd_.push_back(register_parameter("crowd" + std::to_string(i), torch::zeros({1 + i % 3})));
  if (!program_.odd) return;
  scale_ = register_parameter("scale", torch::ones({}));
  nothing_ = register_parameter("nothing", torch::ones({0, 3}));
}

void NetImpl::draw_parameters(std::uint64_t init_seed) {
  fill_all(*this, init_seed);
  fill(gain_, 0.5, init_seed, 1'000);
  torch::NoGradGuard no_grad;
  gain_.add_(1);
  for (Part& part : parts_)
    if (part.norm) part.norm->weight.add_(1);
  if (program_.odd) scale_.add_(1);
}

void NetImpl::stride_weights() {
  for (std::size_t i = 0; i < parts_.size(); ++i)
    for (at::Tensor& p : parameters_of(static_cast<int>(i))) p.set_data(in_strides(p, program_.layers[i].strides));
}

std::vector<at::Tensor> NetImpl::parameters_of(int layer) {
  const Part& part = parts_[static_cast<std::size_t>(layer)];
  if (part.linear) return part.linear->parameters();
  if (part.convolution) return part.convolution->parameters();
  if (part.norm) return part.norm->parameters();
  if (part.embedding) return part.embedding->parameters();
  return part.recurrent->parameters();
}

at::Tensor NetImpl::apply(std::size_t layer, const at::Tensor& h, const at::Tensor& tokens) {
  Part& part = parts_[layer];
  const std::int64_t n = h.size(0), width = program_.width;
  at::Tensor out;
  if (part.linear) out = part.linear(h).view({n, width, -1}).mean(2);
  if (part.convolution) out = part.convolution(h.view({n, 2, width / 4, 2})).mean({2, 3});
  if (part.norm) out = part.norm(h);
  if (part.embedding) out = part.embedding(tokens).mean(1);
  if (part.recurrent) out = std::get<0>(part.recurrent(h.view({n, width / 2, 2}))).select(1, -1);
  out = activate(program_.layers[layer].activation, out);
  return program_.layers[layer].statistics ? centre(part, out) : out;
}

at::Tensor NetImpl::centre(Part& part, const at::Tensor& h) {
  if (!is_training()) return h - 0.5 * part.running;
  at::Tensor mean = h.mean(0);
  if (statistics_) {
    torch::NoGradGuard no_grad;
    part.running.mul_(0.9).add_(mean, 0.1);
    part.count.add_(1);
  }
  return h - 0.5 * mean;
}

at::Tensor NetImpl::use(std::size_t layer, const at::Tensor& h, const at::Tensor& tokens, const Pass& pass) {
  const Layer& l = program_.layers[layer];
  Part& part = parts_[layer];
  if (l.detached == Detached::weights && part.linear) {
    // The features learn through the weights, and the weights from the features, but each with the other one detached. Backward visits what was made
    // last first, so the weights have their gradient before backward reads them for the features.
    at::Tensor through = torch::linear(h, part.linear->weight.detach(), part.linear->bias.detach());
    at::Tensor own = part.linear(h.detach()).pow(2).mean();
    auxiliary_ = auxiliary_.defined() ? auxiliary_ + own : own;
    return activate(l.activation, through.view({h.size(0), program_.width, -1}).mean(2));
  }
  at::Tensor in = l.detached == Detached::no ? h : h.detach();
  if (!pass.recompute || !l.recomputed || !torch::GradMode::is_enabled()) return apply(layer, in, tokens);
  if (!in.requires_grad()) in = in.detach().requires_grad_();  // otherwise its backward is never called
  return Recompute::apply(in, tokens, reinterpret_cast<std::int64_t>(&segments_[layer]));  // NOLINT
}

at::Tensor NetImpl::forward(const at::Tensor& input, const Pass& pass) {
  auxiliary_ = at::Tensor();
  statistics_ = pass.statistics;
  at::Tensor h = input.narrow(1, 0, program_.width);
  const at::Tensor tokens = input.narrow(1, program_.width, kTokens).detach().to(torch::kLong);
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    if (!is_used(program_.layers[i], pass.place)) continue;
    for (int times = program_.layers[i].twice ? 2 : 1; times > 0; --times) h = h + use(i, h.contiguous(), tokens, pass);
    if (parts_[i].dropout) h = parts_[i].dropout(h);
  }
  h = h * gain_;
  if (program_.odd) h = h * scale_.to(h.scalar_type()) + nothing_.sum();
  return head_(h);
}

at::Tensor NetImpl::penalty(const at::Tensor& input, const Pass& pass) {
  at::Tensor x = input.detach().requires_grad_();
  Pass inner = pass;
  inner.recompute = false;  // gradients of a recomputed segment have no graph
  at::Tensor score = forward(x, inner).pow(2).sum();
  const auto gradients = torch::autograd::grad({score}, {x}, {}, std::nullopt, /*create_graph=*/true);
  return gradients[0].pow(2).mean();
}

at::Tensor NetImpl::poison(const at::Tensor& loss, const Place& place) {
  for (const Poison& p : program_.poison) {
    if (p.step != place.step || p.slice != place.slice) continue;
    if (p.loss) return loss * std::numeric_limits<double>::infinity();
    at::Tensor zero = head_->bias - head_->bias.detach();
    return loss + zero.abs().sqrt().sum();  // this adds 0, but its gradient is ∞ · 0
  }
  return loss;
}

at::Tensor NetImpl::loss(const data::Batch& batch, const Pass& pass) {
  at::Tensor out = forward(batch.input, pass);
  at::Tensor auxiliary = auxiliary_;
  namespace F = torch::nn::functional;
  at::Tensor loss = program_.classes ? F::cross_entropy(out, batch.target) : F::mse_loss(out, batch.target);
  if (auxiliary.defined()) loss = loss + 0.1 * auxiliary;
  if (program_.drift) loss = loss + 0.01 * drift_.sum();
  if (program_.crowd) {
    std::vector<at::Tensor> used;
    for (int i = (pass.place.step + pass.place.slice) % kCrowdShare; i < kCrowd; i += kCrowdShare)
      used.push_back(crowd_[static_cast<std::size_t>(i)]);
    loss = loss + 0.01 * torch::cat(used).pow(2).sum();
  }
  if (program_.penalty && pass.penalty) loss = loss + 0.1 * penalty(batch.input, pass);
  return pass.poison ? poison(loss, pass.place) : loss;
}

SecondImpl::SecondImpl(const Program& program, std::uint64_t init_seed) : program_(program) {
  linear_ = register_module("linear", nn::Linear(program.width, program.width));
  to(options(program).dtype().toScalarType());
  fill_all(*this, mix_seed(init_seed, 2));
}

at::Tensor SecondImpl::forward(const at::Tensor& input) {
  at::Tensor made = torch::tanh(linear_(input.narrow(1, 0, program_.width)));
  return torch::cat({made, input.narrow(1, program_.width, kTokens)}, 1);
}

KeepModes::KeepModes(torch::nn::Module& module) {
  for (const auto& m : module.modules()) modes_.emplace_back(m, m->is_training());
}
KeepModes::~KeepModes() {
  for (const auto& [module, training] : modes_)
    if (module->is_training() != training) module->train(training);
}

}  // namespace cohaul::programs
