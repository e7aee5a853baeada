#include "cohaul/sim/scenario.h"

#include <algorithm>
#include <utility>

#include "cohaul/base/check.h"
#include "cohaul/base/random.h"

namespace cohaul::sim {

using Mode = ps::Consistency::Kind;
using transport::Role;

namespace {

std::vector<job::MemberKey> shuffled_members(const Scenario& s, Random& random) {
  std::vector<job::MemberKey> all;
  for (std::int32_t w = 0; w < s.workers; ++w) all.push_back({Role::worker, w});
  for (std::int32_t k = 0; k < s.servers; ++k) all.push_back({Role::server, k});
  for (std::size_t i = all.size(); i > 1; --i) std::swap(all[i - 1], all[random.below(i)]);
  return all;
}

Fault draw_fatal(const Scenario& s, job::MemberKey who, Random& random) {
  Fault fault{.kind = Fault::Kind::kill, .who = who};
  std::uint64_t kind = random.below(4);
  if (kind == 0) fault.kind = Fault::Kind::stop;
  if (kind == 0) fault.lasts = random.below(2) == 0 ? kForever : s.peer_timeout * (2 + random.below(3));
  if (kind == 1 && who.role == Role::worker) {
    fault.kind = Fault::Kind::cut;
    fault.peer = static_cast<std::int32_t>(random.below(s.servers));
  }
  return fault;
}

/// Draws a fault that must not count as a loss. patience: how long it may last.
Fault draw_mild(const Scenario& s, job::MemberKey who, Duration patience, Random& random) {
  Fault fault{.kind = Fault::Kind::hold, .who = who, .lasts = static_cast<Duration>(random.below(patience))};
  std::uint64_t kind = random.below(3);
  if (kind == 0) fault.kind = Fault::Kind::stop;
  if (kind == 1 && who.role == Role::worker) {
    fault.kind = Fault::Kind::slow;
    fault.lasts = s.peer_timeout * (1 + random.below(3));
  }
  std::int32_t peers = who.role == Role::worker ? s.servers : s.workers;
  fault.peer = static_cast<std::int32_t>(random.below(peers + 2)) - 2;
  fault.peer = std::max(fault.peer, Fault::kLauncher);
  return fault;
}

/// Each process has at most one fault, because two short silences could add up to a long one.
std::vector<Fault> draw_faults(const Scenario& s, Random& random) {
  std::vector<Fault> faults;
  std::vector<job::MemberKey> members = shuffled_members(s, random);
  auto next = members.begin();
  std::int32_t workers_left = s.workers;
  for (std::uint64_t deaths = random.below(2) == 0 ? 0 : 1 + random.below(3); deaths > 0; --deaths, ++next) {
    if (next == members.end()) break;
    if (s.goes_on && (next->role == Role::server || workers_left == 1)) continue;
    workers_left -= next->role == Role::worker ? 1 : 0;
    faults.push_back(draw_fatal(s, *next, random));
  }
  // Membership decides about one loss only. Later losses are noticed by closed connections alone, so a process that stops must be the only fault.
  auto stopped = std::find_if(faults.begin(), faults.end(), [](const Fault& f) { return f.kind == Fault::Kind::stop; });
  if (s.goes_on && stopped != faults.end()) faults = {*stopped};

  Duration patience = faults.empty() ? s.peer_timeout * 7 / 10 : s.peer_timeout / 3;
  for (std::uint64_t mild = random.below(3); mild > 0 && next != members.end(); --mild, ++next) {
    faults.push_back(draw_mild(s, *next, patience, random));
  }
  Duration typical = (s.delay_max * 6 + s.compute_max) * (s.all_steps() / s.workers + 2);
  for (Fault& f : faults) f.at = static_cast<Time>(random.below(typical));
  return faults;
}

/// Draws a fault of the launcher, for some of the runs without any other fault.
void draw_fault_of_launcher(Scenario& s) {
  Random random(s.seed, 5);
  if (!s.faults.empty() || s.goes_on || random.below(2) == 0) return;
  Fault fault{.kind = Fault::Kind::stop, .who = {Role::launcher, 0}};
  const std::uint64_t kind = random.below(4);
  if (kind == 0) fault.kind = Fault::Kind::kill;
  if (kind == 1) fault.lasts = kForever;
  if (kind == 2) fault.lasts = s.peer_timeout * 3 / 2 + static_cast<Duration>(random.below(2 * s.peer_timeout));
  if (kind == 3) fault.lasts = static_cast<Duration>(random.below(s.peer_timeout * 6 / 10));
  fault.at = static_cast<Time>(random.below((s.delay_max * 6 + s.compute_max) * (s.all_steps() / s.workers + 2)));
  s.faults.push_back(fault);
}

}  // namespace

bool Fault::is_fatal(Duration peer_timeout) const {
  return kind == Kind::kill || kind == Kind::cut || (kind == Kind::stop && lasts >= peer_timeout);
}

std::string Fault::describe() const {
  constexpr std::string_view kNames[] = {"killed", "stopped", "slow", "held back", "cut off"};
  std::string text = job::describe(who);
  text.append(" ").append(kNames[static_cast<int>(kind)]);
  bool has_peer = kind == Kind::cut || kind == Kind::hold;
  Role peers = who.role == Role::worker ? Role::server : Role::worker;
  if (has_peer) {
    text += std::string(kind == Kind::cut ? " from " : " towards ") +
            (peer == kLauncher ? "the launcher" : job::describe({peers, peer}));
  }
  if (lasts > 0) text += lasts == kForever ? " for good" : " for " + std::to_string(lasts / kMicrosecond) + " us";
  return text + " at " + std::to_string(at / kMicrosecond) + " us";
}

Scenario Scenario::draw(std::uint64_t seed) {
  Random random(seed, 2);
  Scenario s;
  s.seed = s.problem = seed;
  s.consistency.kind = static_cast<Mode>(random.below(3));
  if (s.consistency.kind == Mode::bounded) s.consistency.staleness = static_cast<std::int64_t>(random.below(5));
  s.workers = static_cast<std::int32_t>(1 + random.below(6));
  s.servers = static_cast<std::int32_t>(1 + random.below(3));
  s.slices = s.is_sync() ? s.workers + static_cast<std::int32_t>(random.below(2 * s.workers + 3)) : 1;
  s.steps = static_cast<std::int64_t>(1 + random.below(24));
  s.loops = static_cast<std::int64_t>(1 + random.below(2));
  std::uint64_t policy = random.below(3);
  if (policy == 1 && s.is_sync()) s.policy.clip_norm = 3;
  if (policy == 2) s.policy.non_finite = update::NonFinite::skip;
  if (s.is_sync()) s.policy.watch_every = static_cast<std::int64_t>(seed % 4);
  if (!s.is_sync() && s.loops > 1 && random.below(2) == 0) {
    s.leave = {.worker = static_cast<std::int32_t>(random.below(s.workers)),
               .after = static_cast<std::int64_t>(random.below(s.steps / s.workers + 1)),
               .stop = random.below(2) == 0};
  }
  s.one_host = random.below(2) == 0;
  s.repeat_rate = random.below(2) == 0 ? 0 : random.uniform() * 0.5;
  s.delay_max = kMicrosecond << random.below(12);
  s.compute_max = kMicrosecond << random.below(12);
  s.peer_timeout = (400 + static_cast<Duration>(random.below(600))) * kMillisecond;
  s.is_reaped = random.below(2) == 0;
  s.goes_on = !s.is_sync() && random.below(4) != 0;
  s.faults = draw_faults(s, random);
  draw_fault_of_launcher(s);
  return s;
}

std::string Scenario::describe() const {
  std::string text = "seed " + std::to_string(seed) + ": " + std::string(name(consistency.kind));
  if (consistency.kind == Mode::bounded) text += " " + std::to_string(consistency.staleness);
  text += ", " + std::to_string(workers) + " workers, " + std::to_string(servers) + " servers, " +
          std::to_string(slices) + " slices, " + std::to_string(loops) + " loops of " + std::to_string(steps) +
          " steps, " + (one_host ? "one host" : "several hosts") + ", repeat rate " + std::to_string(repeat_rate) +
          (goes_on ? ", goes on" : "");
  if (policy.needs_facts()) text += policy.clip_norm > 0 ? ", clipped" : ", skips what is not finite";
  if (policy.watch_every > 0) text += ", watched every " + std::to_string(policy.watch_every);
  if (leave) {
    text += ", worker " + std::to_string(leave->worker) + " leaves after " + std::to_string(leave->after) + " steps" +
            (leave->stop ? " and stops the loop" : "");
  }
  if (save_after >= 0) text += ", saves after " + std::to_string(save_after) + " steps";
  for (const Fault& f : faults) text += "; " + f.describe();
  return text;
}

update::Layout small_layout() {
  std::vector<update::ParameterSpec> specs;
  // A large parameter with several partitions, then small ones.
  specs.push_back({"weight", {1024 * 4 + 5}, DType::float64, true});
  specs.push_back({"bias", {7}, DType::float64, true});
  specs.push_back({"fixed", {3}, DType::float64, false});
  specs.push_back({"scale", {2, 2}, DType::float64, true});
  Result<update::Layout> layout = update::Layout::of(std::move(specs));
  COHAUL_CHECK(layout.ok(), "the small layout");
  return std::move(*layout);
}

}  // namespace cohaul::sim
