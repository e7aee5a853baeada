#include "program.h"

#include <algorithm>

namespace cohaul::programs {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Layer, kind, activation, wide, strides, detached, unused, twice, recomputed, frozen,
                                   dropout, dropout_off, statistics, tied)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Rule, kind, lr, momentum, dampening, decay, eps, nesterov, clip_norm, clip_value,
                                   skip, grouped, warmup, gamma, plateau, ema)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Loop, kind, steps, left, batch, shuffle, uneven, remade, rate)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Event, step, act, when, layer, first_only)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Poison, step, slice, loss)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Program, seed, float64, width, slices, outputs, classes, layers, penalty, drift,
                                   drift_wide, odd, second, after, own_optimizer, crowd, disagrees, rule, second_rule,
                                   loops, events, poison)

nlohmann::json to_json(const Program& program) { return program; }
Program from_json(const nlohmann::json& json) { return json.get<Program>(); }

const std::vector<GroupOf>& groups_of_parameters() {
  static const std::vector<GroupOf> groups = {
      {.match = {"*.bias"}, .lr = 0.5, .decay = 0, .momentum = 0, .trust = false},
      {.match = {"layer0.*", "head.*"}, .decay = 0.05, .momentum = 0.6},
  };
  return groups;
}

int Program::steps() const {
  int sum = 0;
  for (const Loop& l : loops) sum += l.steps;
  return sum;
}

bool is_used(const Layer& layer, const Place& place) {
  switch (layer.unused) {
    case Unused::never: return true;
    case Unused::slices: return (place.slice + place.step) % 3 != 0;
    case Unused::steps: return place.step % 3 != 1;
    case Unused::most: return place.slice == 0;
  }
  return true;
}

bool model_keeps_averages(const Program& program) { return program.rule.ema > 0 && !program.own_optimizer; }
bool keeps_averages(const Program& program) {
  return model_keeps_averages(program) || (program.second && program.second_rule.ema > 0);
}

int own_samples(const Loop& loop, const Place& place) {
  return loop.uneven ? 1 + (7 * place.slice + 3 * place.step) % 4 : loop.batch;
}

bool is_uneven(const Loop& loop, int slices) {
  return slices > 1 && (loop.kind == LoopKind::own ? loop.uneven : loop.batch % slices != 0);
}

namespace {

bool has_act(const Program& p, std::initializer_list<Act> acts) {
  return std::ranges::any_of(p.events,
                             [&](const Event& e) { return std::find(acts.begin(), acts.end(), e.act) != acts.end(); });
}

template <class Of>
bool any_layer(const Program& p, Of&& of) {
  return std::ranges::any_of(p.layers, of);
}
bool has_kind(const Program& p, Kind kind) {
  return any_layer(p, [&](const Layer& l) { return l.kind == kind; });
}
template <class Of>
bool any_loop(const Program& p, Of&& of) {
  return std::ranges::any_of(p.loops, of);
}

struct Feature {
  const char* name;
  bool (*has)(const Program& p);
};

using P = const Program&;
using L = const Layer&;
constexpr Feature kFeatures[] = {
    {"linear", [](P p) { return has_kind(p, Kind::linear); }},
    {"convolution", [](P p) { return has_kind(p, Kind::convolution); }},
    {"layer norm", [](P p) { return has_kind(p, Kind::layer_norm); }},
    {"embedding", [](P p) { return has_kind(p, Kind::embedding); }},
    {"recurrent", [](P p) { return has_kind(p, Kind::recurrent); }},
    {"tied", [](P p) { return any_layer(p, [](L l) { return l.tied >= 0; }); }},
    {"detached", [](P p) { return any_layer(p, [](L l) { return l.detached != Detached::no; }); }},
    {"frozen", [](P p) { return any_layer(p, [](L l) { return l.frozen; }) || has_act(p, {Act::freeze}); }},
    {"unfrozen", [](P p) { return has_act(p, {Act::unfreeze}); }},
    {"unused", [](P p) { return any_layer(p, [](L l) { return l.unused != Unused::never; }); }},
    {"used twice", [](P p) { return any_layer(p, [](L l) { return l.twice; }); }},
    {"strided",
     [](P p) {
       return any_layer(p, [](L l) { return l.strides == Strides::transposed || l.strides == Strides::gaps; });
     }},
    {"channels last", [](P p) { return any_layer(p, [](L l) { return l.strides == Strides::channels_last; }); }},
    {"gradient penalty", [](P p) { return p.penalty; }},
    {"recomputed", [](P p) { return any_layer(p, [](L l) { return l.recomputed; }); }},
    {"own probes",
     [](P p) {
       return has_act(p, {Act::probe_backward, Act::probe_grad, Act::probe_forward});
     }},
    {"two trainers", [](P p) { return p.second; }},
    {"written by hand",
     [](P p) {
       return has_act(p, {Act::write, Act::write_storage, Act::load_within_write});
     }},
    {"loaded", [](P p) { return has_act(p, {Act::load}); }},
    {"evaluations",
     [](P p) {
       return has_act(p, {Act::evaluate, Act::evaluate_by_hand});
     }},
    {"left early", [](P p) { return any_loop(p, [](const Loop& l) { return l.left != Left::no; }); }},
    {"made anew", [](P p) { return any_loop(p, [](const Loop& l) { return l.remade != Remade::no; }); }},
    {"clipping",
     [](P p) { return p.rule.clip_norm > 0 || p.rule.clip_value > 0 || (p.second && p.second_rule.clip_norm > 0); }},
    {"skipped steps", [](P p) { return !p.poison.empty(); }},
    {"uneven slices", [](P p) { return any_loop(p, [&](const Loop& l) { return is_uneven(l, p.slices); }); }},
    {"large parameters", [](P p) { return p.drift_wide || any_layer(p, [](L l) { return l.wide; }); }},
    {"dropout", [](P p) { return any_layer(p, [](L l) { return l.dropout; }); }},
    {"running statistics", [](P p) { return any_layer(p, [](L l) { return l.statistics; }); }},
    {"expanded gradient", [](P p) { return p.drift; }},
    {"odd parameters", [](P p) { return p.odd; }},
    {"used afterwards", [](P p) { return p.after; }},
    {"own loop", [](P p) { return any_loop(p, [](const Loop& l) { return l.kind == LoopKind::own; }); }},
    {"batches", [](P p) { return any_loop(p, [](const Loop& l) { return l.kind != LoopKind::own; }); }},
    {"own optimizer", [](P p) { return p.own_optimizer; }},
    {"many parameters", [](P p) { return p.crowd; }},
    {"disagreement", [](P p) { return p.disagrees; }},
    {"adaptive rule", [](P p) { return p.rule.kind != RuleKind::sgd; }},
    {"groups", [](P p) { return p.rule.grouped; }},
    {"schedule", [](P p) { return p.rule.gamma != 1 || p.rule.plateau; }},
    {"plateau", [](P p) { return has_act(p, {Act::tell_plateau}); }},
    {"averages", [](P p) { return keeps_averages(p); }},
    {"rate by hand",
     [](P p) {
       return has_act(p, {Act::set_rate, Act::set_group_rate});
     }},
    {"float32", [](P p) { return !p.float64; }},
};

}  // namespace

const std::vector<std::string>& feature_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> out;
    for (const Feature& f : kFeatures) out.emplace_back(f.name);
    return out;
  }();
  return names;
}

std::vector<bool> features_of(const Program& program) {
  std::vector<bool> out;
  for (const Feature& f : kFeatures) out.push_back(f.has(program));
  return out;
}

}  // namespace cohaul::programs
