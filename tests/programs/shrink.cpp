#include "shrink.h"

#include <algorithm>
#include <optional>

#include "messages.h"

namespace cohaul::programs {
namespace {

/// Returns the program without one layer; nothing if another layer is tied to it, or if it is the only one.
std::optional<Program> without_layer(const Program& p, std::size_t at) {
  const auto number = static_cast<int>(at);
  if (p.layers.size() < 2 || std::ranges::any_of(p.layers, [&](const Layer& l) { return l.tied == number; }))
    return std::nullopt;
  Program out = p;
  out.layers.erase(out.layers.begin() + number);
  for (Layer& l : out.layers)
    if (l.tied > number) --l.tied;
  std::erase_if(out.events, [&](const Event& e) {
    return e.layer == number && (e.act == Act::freeze || e.act == Act::unfreeze || e.act == Act::write);
  });
  for (Event& e : out.events)
    if (e.layer >= number && e.layer > 0) --e.layer;
  return out;
}

/// Returns all programs that have one part less, or one part that is simpler.
std::vector<Program> simpler(const Program& p) {
  std::vector<Program> out;
  auto with = [&](auto&& change) {
    Program q = p;
    change(q);
    q = mend(std::move(q));
    if (!(q == p)) out.push_back(std::move(q));
  };
  for (std::size_t i = 0; i < p.layers.size(); ++i)
    if (auto less = without_layer(p, i)) out.push_back(mend(*std::move(less)));
  for (std::size_t i = 0; i < p.events.size(); ++i)
    with([&](Program& q) { q.events.erase(q.events.begin() + static_cast<std::ptrdiff_t>(i)); });
  for (std::size_t i = 0; i < p.loops.size() && p.loops.size() > 1; ++i)
    with([&](Program& q) { q.loops.erase(q.loops.begin() + static_cast<std::ptrdiff_t>(i)); });
  for (std::size_t i = 0; i < p.poison.size(); ++i)
    with([&](Program& q) { q.poison.erase(q.poison.begin() + static_cast<std::ptrdiff_t>(i)); });
  for (bool Program::*flag : {&Program::penalty, &Program::drift, &Program::drift_wide, &Program::odd, &Program::second,
                              &Program::after, &Program::classes})
    with([&](Program& q) { q.*flag = false; });
  for (std::size_t i = 0; i < p.layers.size(); ++i) {
    for (bool Layer::*flag : {&Layer::wide, &Layer::twice, &Layer::recomputed, &Layer::frozen, &Layer::dropout})
      with([&](Program& q) { q.layers[i].*flag = false; });
    with([&](Program& q) { q.layers[i].strides = Strides::plain; });
    with([&](Program& q) { q.layers[i].detached = Detached::no; });
    with([&](Program& q) { q.layers[i].unused = Unused::never; });
    with([&](Program& q) { q.layers[i].tied = -1; });
    with([&](Program& q) { q.layers[i].activation = Activation::none; });
    with([&](Program& q) { q.layers[i].kind = Kind::linear; });
  }
  with([&](Program& q) {
    q.rule = {};
    q.rule.skip = p.rule.skip;
  });
  with([&](Program& q) { q.rule.grouped = false; });
  with([&](Program& q) { q.rule.warmup = 0, q.rule.gamma = 1, q.rule.plateau = false; });
  with([&](Program& q) { q.rule.ema = q.second_rule.ema = 0; });
  with([&](Program& q) { q.rule.clip_norm = q.rule.clip_value = 0; });
  for (std::size_t i = 0; i < p.loops.size(); ++i) {
    with([&](Program& q) { q.loops[i].kind = LoopKind::own; });
    with([&](Program& q) { q.loops[i].left = Left::no; });
    with([&](Program& q) { q.loops[i].uneven = false; });
    with([&](Program& q) { q.loops[i].remade = Remade::no, q.loops[i].rate = 1; });
  }
  if (p.slices > 1) with([&](Program& q) { --q.slices; });
  return out;
}

}  // namespace

Shrunk shrink(rc::Shrinkable<Program> failing, const std::function<bool(const Program&)>& fails, double limit_s) {
  Shrunk out{failing.value(), 0};
  const double end_s = now_s() + limit_s;
  auto smaller = [&](const Program& p) { return now_s() < end_s && (++out.tried, fails(p)); };
  for (bool found = true; found && now_s() < end_s;) {
    found = false;
    auto all = failing.shrinks();
    for (auto next = all.next(); next && now_s() < end_s; next = all.next()) {
      const Program p = next->value();
      if (p == out.program || !smaller(p)) continue;
      out.program = p, failing = *next, found = true;
      break;
    }
  }
  for (bool found = true; found && now_s() < end_s;) {
    found = false;
    for (const Program& p : simpler(out.program)) {
      if (!smaller(p)) continue;
      out.program = p, found = true;
      break;
    }
  }
  return out;
}

}  // namespace cohaul::programs
