#include <array>
#include <sstream>

#include "program.h"

namespace cohaul::programs {
namespace {

constexpr std::array kKinds = {"Linear", "Conv2d", "LayerNorm", "Embedding", "GRU"};
constexpr std::array kActivations = {"", "tanh", "silu", "gelu", "relu"};
constexpr std::array kStrides = {"", "weight transposed", "weight with gaps", "weight channels last"};
constexpr std::array kDetached = {"", "input detached",
                                  "learns from detached features, which learn through it detached"};
constexpr std::array kUnused = {"", "unused where (slice + step) % 3 == 0", "unused in steps with step % 3 == 1",
                                "used in slice 0 only"};
constexpr std::array kRemade = {"", "made anew over the old", "made anew after the old is gone"};
constexpr std::array kActs = {"probe: loss(batch).backward()",
                              "probe: autograd::grad(loss(batch), parameters)",
                              "probe: loss(batch) without gradients",
                              "freeze",
                              "unfreeze",
                              "trainer.write: parameters.mul_(0.9).add_(0.05) of",
                              "trainer.write: parameters.set_data(0.8 * parameters) of",
                              "torch::load(net, file)",
                              "trainer.write: torch::load(net, file)",
                              "trainer.evaluate(test, loss)",
                              "net.eval(), loss(test batch), net.train()",
                              "trainer.save(file)",
                              "trainer.set_lr(0.4 * lr)",
                              "trainer.set_lr(0, 0.4 * lr)",
                              "trainer.plateau(loss)",
                              "trainer.with_ema: evaluate"};
constexpr std::array kWhen = {"after the step before it", "with the batch at hand", "before each slice"};

template <class Names, class E>
const char* name(const Names& names, E value) {
  return names.at(static_cast<std::size_t>(value));
}

/// A list of words, separated by commas.
class Words {
 public:
  void add(const std::string& word) {
    if (!word.empty()) text_ += (text_.empty() ? "" : ", ") + word;
  }
  void add(bool there, const std::string& word) {
    if (there) add(word);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

std::string number(double value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

std::string describe(const Layer& l) {
  Words w;
  w.add(name(kActivations, l.activation));
  w.add(l.wide, "wide (more than 64 KiB)");
  w.add(l.tied >= 0, "is layer" + std::to_string(l.tied));
  w.add(name(kStrides, l.strides));
  w.add(name(kDetached, l.detached));
  w.add(name(kUnused, l.unused));
  w.add(l.twice, "applied twice");
  w.add(l.recomputed, "recomputed in backward");
  w.add(l.frozen, "frozen");
  w.add(l.statistics, "with running statistics");
  w.add(l.dropout, l.dropout_off ? "then dropout in eval mode" : "then dropout");
  return std::string(name(kKinds, l.kind)) + "  // h = h + layer(h) " + w.text();
}

std::string describe(const Rule& r) {
  constexpr const char* kNames[] = {"Sgd", "Adam", "AdamW", "Lars", "Lamb"};
  std::string out = std::string(kNames[static_cast<int>(r.kind)]) + "{.lr = " + number(r.lr);
  auto add = [&](const char* what, double value) {
    if (value != 0) out += std::string(", .") + what + " = " + number(value);
  };
  add("momentum", r.momentum), add("dampening", r.dampening), add("weight_decay", r.decay);
  if (r.kind != RuleKind::sgd && r.kind != RuleKind::lars) add("eps", r.eps);
  if (r.kind == RuleKind::lars) add("trust_coefficient", kTrustCoefficient);
  if (r.nesterov) out += ", .nesterov = true";
  add("clip_norm", r.clip_norm), add("clip_value", r.clip_value);
  if (r.skip) out += ", .non_finite = skip";
  if (r.grouped) out += ", .groups = {{{*.bias}, lr / 2}, {{layer0.*, head.*}, other decay and momentum}}";
  if (r.gamma != 1) out += ", .schedule = " + std::to_string(r.warmup) + " steps up, then * " + number(r.gamma);
  if (r.plateau) out += ", .schedule = " + std::to_string(r.warmup) + " steps up, then plateau";
  add("ema", r.ema);
  return out + "}";
}

std::string describe(const Event& e) {
  std::string out = "before step " + std::to_string(e.step) + ", " + name(kWhen, e.when) + ": " + name(kActs, e.act);
  const bool of_layer =
      e.act == Act::freeze || e.act == Act::unfreeze || e.act == Act::write || e.act == Act::write_storage;
  if (of_layer) out += " layer" + std::to_string(e.layer);
  return out + (e.first_only ? " (worker 0 only)" : "");
}

std::string describe(const Loop& l, const Program& p, int first) {
  std::string out;
  if (l.remade != Remade::no)
    out += "  trainer " + std::string(name(kRemade, l.remade)) + ", lr * " + number(l.rate) + "\n";
  const std::string steps = "steps " + std::to_string(first) + " … " + std::to_string(first + l.steps - 1);
  if (l.kind == LoopKind::own)
    return out + "  own loop, " + steps + ": step(loss) for each slice of " +
           (l.uneven ? "1 … 4 samples, {.samples}" : std::to_string(l.batch) + " samples") + "\n";
  out += l.kind == LoopKind::fit ? "  fit" : "  for (batch : batches";
  out += "(set, {.batch = " + std::to_string(l.batch) + ", .shuffle = " + (l.shuffle ? "true" : "false") + "})";
  out += (l.kind == LoopKind::fit ? ", " : ") step(loss), ") + steps;
  if (l.left == Left::after) out += ", left early after the last step";
  if (l.left == Left::before) out += ", left early with the next batch unanswered";
  return out + (is_uneven(l, p.slices) ? ", uneven slices\n" : "\n");
}

}  // namespace

std::string describe(const Program& p) {
  std::ostringstream out;
  out << "// data seed " << p.seed << ", " << (p.float64 ? "float64" : "float32") << ", width " << p.width << ", "
      << p.slices << " slices\nstruct Net {\n";
  for (std::size_t i = 0; i < p.layers.size(); ++i) out << "  layer" << i << ": " << describe(p.layers[i]) << "\n";
  out << "  head: Linear to " << p.outputs << (p.classes ? ", cross entropy" : ", mse");
  if (p.penalty) out << " + gradient penalty";
  if (p.drift) out << " + 0.01 * drift.sum()" << (p.drift_wide ? " of 20,000 elements" : "");
  if (p.odd) out << ", with a scalar and an empty parameter";
  if (p.crowd) out << ", with thousands of small parameters";
  out << "\n}\n" << describe(p.rule);
  if (p.own_optimizer) out << " of torch::optim, after average()";
  if (p.disagrees) out << "; at first with another rate at the last worker";
  if (p.second) out << "; a second model and trainer with " << describe(p.second_rule);
  out << "\n{\n";
  int step = 0;
  for (const Loop& l : p.loops) {
    out << describe(l, p, step);
    step += l.steps;
  }
  for (const Event& e : p.events) out << "  " << describe(e) << "\n";
  for (const Poison& q : p.poison)
    out << "  step " << q.step << ", slice " << q.slice << ": "
        << (q.loss ? "the loss is infinite" : "the gradient of head.bias is not finite") << "\n";
  out << "}\n";
  if (p.after) out << "the model is used and saved after the trainer is gone\n";
  return out.str();
}

}  // namespace cohaul::programs
