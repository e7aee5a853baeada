#include "generate.h"

#include <algorithm>
#include <array>

namespace cohaul::programs {
namespace {

constexpr int kLayersMax = 4, kLoopsMax = 3, kEventsMax = 6, kStepsMin = 6;

/// Draws a number from [0, n). Shrinks to 0.
int below(int n) { return *rc::gen::inRange(0, n); }
/// Draws true in `percent` % of the cases. Shrinks to false.
bool in_percent(int percent) { return below(100) >= 100 - percent; }
/// Draws one of the values. Shrinks to the first.
template <class T>
T one_of(std::initializer_list<T> all) {
  return *(all.begin() + below(static_cast<int>(all.size())));
}

Layer draw_layer() {
  Layer l;
  l.kind = one_of({Kind::linear, Kind::convolution, Kind::layer_norm, Kind::embedding, Kind::recurrent});
  l.activation = one_of({Activation::none, Activation::tanh, Activation::silu, Activation::gelu, Activation::relu});
  l.wide = in_percent(12);
  return l;
}

/// A feature of one layer. The same choices are always drawn, so that a smaller program keeps the other ones.
struct Spot {
  bool there;
  std::size_t layer;
  int way;
};
Spot draw_spot(int percent) {
  const bool there = in_percent(percent);
  const auto layer = static_cast<std::size_t>(below(kLayersMax));
  return {there, layer, below(12)};
}

void draw_layers(Program& p) {
  std::array<Layer, kLayersMax> all;
  for (Layer& l : all) l = draw_layer();
  const int count = 1 + below(kLayersMax);
  p.layers.assign(all.begin(), all.begin() + count);
  auto with = [&](int percent, auto&& f) {
    const Spot s = draw_spot(percent);
    if (s.there) f(p.layers[s.layer % p.layers.size()], s.way);
  };
  with(28, [](Layer& l, int) { l.kind = Kind::convolution, l.strides = Strides::channels_last; });
  with(28, [](Layer& l, int way) {
    if (l.kind == Kind::convolution && way % 2 == 0) return;
    if (l.kind != Kind::recurrent && l.kind != Kind::embedding) l.kind = Kind::linear;
    l.strides = way % 2 == 0 ? Strides::transposed : Strides::gaps;
  });
  with(28, [](Layer& l, int way) {
    l.detached = way % 2 == 0 ? Detached::input : Detached::weights;
    if (l.detached != Detached::weights || l.strides == Strides::channels_last) return;
    l.kind = Kind::linear;
    l.wide = way % 4 == 1;  // its gradient is pushed as soon as it is there
  });
  with(28, [](Layer& l, int way) { l.unused = std::array{Unused::slices, Unused::steps, Unused::most}[way % 3]; });
  with(28, [](Layer& l, int) { l.twice = true; });
  with(35, [](Layer& l, int) { l.recomputed = true; });
  with(25, [](Layer& l, int) { l.frozen = true; });
  with(25, [](Layer& l, int way) { l.dropout = true, l.dropout_off = way % 3 == 0; });
  with(30, [](Layer& l, int) { l.statistics = true; });
  const Spot tied = draw_spot(30);
  if (tied.there && count < kLayersMax + 1) {
    Layer again = p.layers[tied.layer % p.layers.size()];
    again.tied = static_cast<int>(tied.layer % p.layers.size());
    p.layers.push_back(again);
  }
}

bool has_momentum(RuleKind kind) { return kind == RuleKind::sgd || kind == RuleKind::lars; }

Rule draw_rule() {
  Rule r;
  r.kind = one_of({RuleKind::sgd, RuleKind::sgd, RuleKind::adam, RuleKind::adamw, RuleKind::lars, RuleKind::lamb});
  r.lr = has_momentum(r.kind) ? 0.05 : 0.01;
  r.momentum = one_of({0.0, 0.9, 0.5});
  r.dampening = one_of({0.0, 0.0, 0.3});
  r.decay = one_of({0.0, 0.0, 0.02});
  r.nesterov = in_percent(30);
  const bool clipped = in_percent(35);
  const bool by_value = in_percent(40);
  const double norm = one_of({0.5, 0.05}), value = one_of({0.1, 0.01});
  if (clipped) (by_value ? r.clip_value : r.clip_norm) = by_value ? value : norm;
  if (!has_momentum(r.kind)) r.momentum = 0;
  r.grouped = in_percent(35);
  const bool scheduled = in_percent(40);
  const int warmup = below(4);
  const bool plateau = in_percent(55);
  if (scheduled) r.warmup = warmup, r.plateau = plateau, r.gamma = plateau ? 1 : 0.8;
  r.ema = in_percent(35) ? 0.75 : 0;
  return r;
}

Loop draw_loop(int slices) {
  Loop l;
  l.kind = one_of({LoopKind::own, LoopKind::batches, LoopKind::batches, LoopKind::fit});
  l.steps = 1 + below(4);
  const bool left = in_percent(30);
  const bool before = in_percent(50);
  if (left) l.left = before ? Left::before : Left::after;
  l.uneven = in_percent(30);
  const int each = 1 + below(3), more = below(8);
  l.batch = l.kind == LoopKind::own ? each : each * slices + (l.uneven ? more % slices : 0);
  l.shuffle = !in_percent(30);
  const bool remade = in_percent(30);
  l.remade = one_of({Remade::over, Remade::reset});
  l.rate = one_of({1.0, 0.5, 0.1});
  if (!remade) l.remade = Remade::no, l.rate = 1;
  return l;
}

Event draw_event(std::initializer_list<Act> acts) {
  Event e;
  e.step = 1 + below(9);
  e.act = one_of(acts);
  e.when = one_of({When::between, When::fetched, When::slices});
  e.layer = below(kLayersMax);
  e.first_only = in_percent(30);
  return e;
}

void draw_events(Program& p) {
  auto maybe = [&](int percent, std::initializer_list<Act> acts) {
    const bool there = in_percent(percent);
    const Event e = draw_event(acts);
    if (there) p.events.push_back(e);
  };
  maybe(30, {Act::probe_forward, Act::probe_backward, Act::probe_grad});
  maybe(15, {Act::probe_backward, Act::probe_grad});
  maybe(25, {Act::write, Act::write_storage, Act::load_within_write});
  maybe(20, {Act::load});
  maybe(30, {Act::evaluate, Act::evaluate_by_hand});
  maybe(15, {Act::save});
  maybe(25, {Act::set_rate, Act::set_group_rate});
  maybe(10, {Act::freeze});
  for (int i = 0; i < 3; ++i) maybe(100, {Act::tell_plateau});
  maybe(50, {Act::evaluate_averages});
  const bool unfrozen = in_percent(28);
  const Event e = draw_event({Act::unfreeze});
  if (!unfrozen) return;
  const Layer& chosen = p.layers[static_cast<std::size_t>(e.layer) % p.layers.size()];
  p.layers[chosen.tied >= 0 ? static_cast<std::size_t>(chosen.tied)
                            : static_cast<std::size_t>(e.layer) % p.layers.size()]
      .frozen = true;
  p.events.push_back(e);
}

void draw_poison(Program& p) {
  const bool there = in_percent(28);
  const Poison one{below(9), below(8), !in_percent(50)};
  const bool again = in_percent(20);
  if (!there) return;
  p.poison.push_back(one);
  if (again) p.poison.push_back({one.step + 1, one.slice + 1, !one.loss});
}

Program draw() {
  Program p;
  p.seed = static_cast<std::uint64_t>(below(1'000'000));
  p.float64 = !in_percent(40);
  p.width = one_of({8, 4, 12});
  p.slices = one_of({1, 5, 2, 6, 3, 7, 4, 8, 5, 6});
  p.outputs = one_of({1, 3});
  p.classes = in_percent(40);
  draw_layers(p);
  p.penalty = in_percent(30);
  p.drift = in_percent(25);
  p.drift_wide = in_percent(30);
  p.odd = in_percent(25);
  p.second = in_percent(28);
  p.after = in_percent(30);
  p.rule = draw_rule();
  p.second_rule = draw_rule();
  std::array<Loop, kLoopsMax> loops;
  for (Loop& l : loops) l = draw_loop(p.slices);
  p.loops.assign(loops.begin(), loops.begin() + 1 + below(kLoopsMax));
  draw_events(p);
  draw_poison(p);
  p.own_optimizer = in_percent(18);
  p.crowd = in_percent(14);
  p.disagrees = in_percent(20);
  return mend(std::move(p));
}

void mend_layer(Program& p, std::size_t i) {
  Layer& l = p.layers[i];
  if (l.tied >= static_cast<int>(i)) l.tied = -1;
  if (l.tied >= 0) {
    const Layer& first = p.layers[static_cast<std::size_t>(l.tied)];
    l.kind = first.kind, l.wide = first.wide, l.strides = first.strides, l.frozen = first.frozen;
    l.statistics = first.statistics;
  }
  if (l.kind != Kind::linear && l.kind != Kind::embedding) l.wide = false;
  if (l.strides == Strides::channels_last && l.kind != Kind::convolution) l.strides = Strides::plain;
  const bool rows = l.kind != Kind::convolution && l.kind != Kind::layer_norm;
  if ((l.strides == Strides::transposed || l.strides == Strides::gaps) && !rows) l.strides = Strides::plain;
  if (l.kind != Kind::linear && l.detached == Detached::weights) l.detached = Detached::input;
  if (!l.dropout) l.dropout_off = false;
  if (l.detached == Detached::weights) l.statistics = false;
  // A layer that counts its batches must be used in every slice of a step.
  if (l.statistics && l.unused != Unused::never) l.unused = Unused::steps;
}

/// Returns the loop of a step, and whether the step is the loop's first.
std::pair<Loop*, bool> loop_of(Program& p, int step) {
  for (Loop& l : p.loops) {
    if (step < l.steps) return {&l, step == 0};
    step -= l.steps;
  }
  return {nullptr, false};
}

void mend_loops(Program& p) {
  p.loops.front().remade = Remade::no, p.loops.front().rate = 1;
  for (Loop& l : p.loops) {
    if (l.kind == LoopKind::fit && (p.second || p.own_optimizer || l.left != Left::no)) l.kind = LoopKind::batches;
    if (l.kind == LoopKind::own) l.left = Left::no;
    else l.batch = std::max(l.batch, p.slices), l.uneven = false;
  }
  if (p.steps() < kStepsMin) p.loops.back().steps += kStepsMin - p.steps();
}

bool is_probe(Act act) { return act == Act::probe_backward || act == Act::probe_grad || act == Act::probe_forward; }

/// Makes events possible: moves them into the program's steps, and replaces fit() by a loop over batches where it leaves no room for them.
void mend_events(Program& p) {
  const bool has_statistics = std::ranges::any_of(p.layers, [](const Layer& l) { return l.statistics; });
  std::erase_if(p.events, [&](const Event& e) {
    return (e.act == Act::tell_plateau && !p.rule.plateau) || (e.act == Act::evaluate_averages && !keeps_averages(p));
  });
  for (Event& e : p.events) {
    e.step = std::clamp(e.step, 1, p.steps() - 1);
    e.layer %= static_cast<int>(p.layers.size());
    if (!is_probe(e.act)) e.first_only = false;
    if (!is_probe(e.act) && e.when == When::slices) e.when = When::fetched;
    const auto [loop, first] = loop_of(p, e.step);
    if (has_statistics && e.act == Act::load) {  // refused if a worker's next slices cannot know the loaded values
      if (loop->kind == LoopKind::own) e.act = Act::load_within_write;
      else e.when = When::between;
    }
    if (loop->kind == LoopKind::fit && !(first && e.when == When::between)) loop->kind = LoopKind::batches;
  }
  std::ranges::stable_sort(p.events, {}, &Event::step);
}

void mend_poison(Program& p) {
  for (Poison& poison : p.poison) {
    poison.step = std::clamp(poison.step, 0, p.steps() - 1);
    poison.slice %= p.slices;
  }
  p.rule.skip = !p.poison.empty();
}

void mend_rule(Rule& rule) {
  if (rule.momentum == 0 || rule.kind != RuleKind::sgd) rule.dampening = 0, rule.nesterov = false;
  if (rule.nesterov) rule.dampening = 0;
  if (rule.kind == RuleKind::sgd) return;
  rule.eps = 1e-6;
  // Without decay, a gradient that consists of rounding errors would be magnified.
  if (is_layerwise(rule.kind)) rule.decay = std::max(rule.decay, 0.02);
}

}  // namespace

Program mend(Program p) {
  for (std::size_t i = 0; i < p.layers.size(); ++i) mend_layer(p, i);
  if (p.classes) p.outputs = 3;
  if (!p.drift) p.drift_wide = false;
  mend_loops(p);
  mend_events(p);
  mend_poison(p);
  mend_rule(p.rule), mend_rule(p.second_rule);
  for (Event& e : p.events)
    if (e.act == Act::set_group_rate && !p.rule.grouped) e.act = Act::set_rate;
  p.second_rule.grouped = false;  // because its parameters have other names
  if (!p.second) p.second_rule = {};
  return p;
}

rc::Gen<Program> programs() {
  return rc::gen::exec([] { return draw(); });
}

rc::Shrinkable<Program> program_of(std::uint64_t seed) {
  return programs()(rc::Random(seed), /*size=*/rc::kNominalSize);
}

}  // namespace cohaul::programs
