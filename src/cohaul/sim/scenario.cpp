#include "cohaul/sim/scenario.h"

#include "cohaul/base/check.h"
#include "cohaul/base/random.h"

namespace cohaul::sim {

using Kind = ps::Consistency::Kind;

Scenario Scenario::draw(std::uint64_t seed) {
  Random random(seed, 2);
  Scenario s;
  s.seed = seed;
  s.consistency.kind = static_cast<Kind>(random.below(3));
  if (s.consistency.kind == Kind::bounded) s.consistency.staleness = static_cast<std::int64_t>(random.below(5));
  s.workers = static_cast<std::int32_t>(1 + random.below(6));
  s.servers = static_cast<std::int32_t>(1 + random.below(3));
  bool sync = s.consistency.kind == Kind::sync;
  s.slices = sync ? s.workers << random.below(3) : 1;
  s.steps = static_cast<std::int64_t>(1 + random.below(24));
  s.by_address = random.below(2) == 0;
  s.repeat_rate = random.below(2) == 0 ? 0 : random.uniform() * 0.5;
  s.delay_max = kMicrosecond << random.below(12);
  s.compute_max = kMicrosecond << random.below(12);
  std::int32_t deaths = sync ? 0 : static_cast<std::int32_t>(random.below(s.workers));
  for (std::int32_t i = 0; i < deaths && random.below(2) == 0; ++i) {
    Duration typical = (s.delay_max * 6 + s.compute_max) * (s.steps / s.workers + 1) / 2;
    s.deaths.push_back({i, static_cast<Time>(random.below(typical))});
  }
  return s;
}

std::string Scenario::describe() const {
  std::string text = "seed " + std::to_string(seed) + ": " + std::string(name(consistency.kind));
  if (consistency.kind == Kind::bounded) text += "(" + std::to_string(consistency.staleness) + ")";
  text += ", " + std::to_string(workers) + " workers, " + std::to_string(servers) + " servers, " +
          std::to_string(slices) + " slices, " + std::to_string(steps) + " steps, " +
          (by_address ? "by address" : "by bytes") + ", repeat rate " + std::to_string(repeat_rate) + ", " +
          std::to_string(deaths.size()) + " deaths";
  return text;
}

update::Layout small_layout() {
  std::vector<update::ParameterSpec> specs;
  // A large parameter of several partitions; then small ones.
  specs.push_back({"weight", {1024 * 4 + 5}, DType::float64, true});
  specs.push_back({"bias", {7}, DType::float64, true});
  specs.push_back({"fixed", {3}, DType::float64, false});
  specs.push_back({"scale", {2, 2}, DType::float64, true});
  Result<update::Layout> layout = update::Layout::of(std::move(specs));
  COHAUL_CHECK(layout.ok(), "the small layout");
  return std::move(*layout);
}

}  // namespace cohaul::sim
