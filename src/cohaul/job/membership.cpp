#include "cohaul/job/membership.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <utility>

#include "cohaul/base/digits.h"
#include "cohaul/base/exit_code.h"

namespace cohaul::job {
namespace {

using transport::Role;

constexpr int kCertain = 0, kClosed = 1, kSecondary = 2;

}  // namespace

std::string describe(MemberKey who) {
  transport::Identity identity;
  identity.role = who.role;
  identity.rank = who.rank;
  return transport::describe(identity);
}

std::string seconds_text(Duration d) { return fixed_digits(static_cast<double>(d) / kSecond, 1) + " s"; }

std::string different_instruction_sets(const std::vector<Member>& members) {
  const Member* first = nullptr;
  for (const Member& m : members) {
    if (m.role != transport::Role::worker || m.instruction_set.empty()) continue;
    if (first == nullptr) first = &m;
    if (m.instruction_set == first->instruction_set) continue;
    const auto who = [](const Member& of) { return describe(of.key()) + " on " + of.host; };
    return who(*first) + " computes with " + first->instruction_set + ", " + who(m) + " with " + m.instruction_set;
  }
  return "";
}

std::vector<int> hosts_of_workers(const std::vector<Member>& members) {
  std::map<std::string, int> first;  // worker of each host
  std::vector<const Member*> workers;
  for (const Member& m : members)
    if (m.role == Role::worker) workers.push_back(&m);
  std::ranges::sort(workers, {}, [](const Member* m) { return m->rank; });
  std::vector<int> out;
  for (const Member* m : workers) out.push_back(first.try_emplace(m->host_id, m->rank).first->second);
  return out;
}

std::string ProcessExit::text() const {
  if (!by_signal) return "exited with code " + std::to_string(code);
  const char* abbreviation = ::sigabbrev_np(code);
  return "killed by signal " + std::to_string(code) + (abbreviation ? std::string(" (SIG") + abbreviation + ")" : "") +
         (why.empty() ? "" : ": " + why);
}

int job_exit_code(const ProcessExit& exit) {
  if (exit.by_signal) return kLost;
  switch (exit.code) {
    case kUsersMistake: return kUsersMistake;
    case kDone:  // without goodbye
    case kLost: return kLost;
    default: return kFailed;
  }
}

std::string Loss::message() const {
  std::string text = describe(who) + ": " + how;
  if (!operation.empty()) text += "; last operation: " + operation;
  if (!place.empty()) text += "; " + place;
  return text;
}

Membership::Membership(const Options& options, Time now) : options_(options), last_decision_(now) {
  for (int i = 0; i < options.workers; ++i) states_[{Role::worker, i}];
  for (int i = 0; i < options.servers; ++i) states_[{Role::server, i}];
  for (const auto& [who, s] : states_) count(who, s, 1);
  if (options.must_join) join_deadline_ = now + options.join_timeout;
}

/// Counts a state in (by 1) or out (by −1). It is taken out before it changes, and put in again after it.
void Membership::count(MemberKey who, const State& s, int by) {
  if (!s.member) to_join_ += by;
  if (!s.member && s.gone) gone_before_joining_ += by;
  if (who.role == Role::worker && !is_done(s)) workers_at_work_ += by;
}

Status Membership::join(const Member& member, Time now) {
  auto it = states_.find(member.key());
  if (it == states_.end()) {
    return invalid(describe(member.key()) + " does not belong to this job of " + std::to_string(options_.workers) +
                   " workers and " + std::to_string(options_.servers) +
                   " servers: every process needs the same number of workers");
  }
  State& s = it->second;
  if (s.member && s.member->incarnation != member.incarnation) {
    return invalid(describe(member.key()) + " has joined already (pid " + std::to_string(s.member->pid) + " on " +
                   s.member->host + "): give every process its own rank");
  }
  count(it->first, s, -1);
  s.member = member;
  count(it->first, s, 1);
  s.heard = now;
  silent_at_ = std::min(silent_at_, now + options_.peer_timeout);
  if (s.operation.empty()) s.operation = "join";
  anyone_joined_ = true;
  if (!join_deadline_) join_deadline_ = now + options_.join_timeout;
  return {};
}

/// Returns a member's place. The log is left out under Cohaul's launcher, which says by itself where it is.
std::string Membership::place_of(MemberKey who) const {
  const std::optional<Member>& member = states_.at(who).member;
  if (!member) return "";
  const std::string out = "pid " + std::to_string(member->pid) + " on " + member->host;
  return options_.host.role == Role::launcher || member->log.empty() ? out : out + "; log: " + member->log;
}

void Membership::misfit(MemberKey who, const Status& why, Time now) {
  if (assembled_ || finished_ || loss_) return;
  evidence_.push_back({kCertain, now, Loss{who, why.message(), "", exit_code(why.code()), true, ""}});
}

void Membership::heartbeat(MemberKey who, std::string operation, Duration busy, Time now) {
  auto it = states_.find(who);
  if (it == states_.end()) return;
  it->second.heard = now;
  it->second.busy_since = busy > 0 ? now - busy : kForever;
  it->second.operation = std::move(operation);
}

void Membership::leave(MemberKey who) {
  auto it = states_.find(who);
  if (it == states_.end()) return;
  count(who, it->second, -1);
  it->second.left = true;
  count(who, it->second, 1);
}

Status Membership::commit(MemberKey who) {
  if (loss_) return loss_->status();
  if (!committed_) committed_ = who;
  for (const Evidence& e : std::exchange(evidence_, {}))
    accuse(e.loss.who, e.rank, e.loss.how, e.loss.exit_code, e.at, e.loss.reported);
  return {};
}

void Membership::fail(MemberKey who, const Status& why, Time now) {
  auto it = states_.find(who);
  if (it == states_.end() || why.ok()) return;
  bool secondary = why.code() == Code::peer_lost;
  it->second.secondary |= secondary;
  accuse(who, secondary ? kSecondary : kCertain, why.message(), exit_code(why.code()), now, true);
}

Status Membership::overdue(MemberKey who, Duration waited, Time now) {
  if (loss_) return loss_->status();
  auto longest = states_.end();
  for (auto it = states_.begin(); it != states_.end(); ++it) {
    const State& s = it->second;
    if (it->first == who || !is_watched(s) || s.busy_since > now - waited / 2) continue;
    if (longest == states_.end() || s.busy_since < longest->second.busy_since) longest = it;
  }
  if (longest == states_.end()) return {};
  accuse(longest->first, kCertain,
         "stands still: it lives, but has said nothing for " + seconds_text(now - longest->second.busy_since) +
             " while " + describe(who) + " waited to its deadline (job.step_timeout_s)",
         kLost, now);
  return evidence_.empty() ? Status{} : evidence_.back().loss.status();
}

void Membership::disconnect(MemberKey who, Time now) {
  auto it = states_.find(who);
  if (it == states_.end() || !it->second.member) return;
  accuse(who, it->second.secondary ? kSecondary : kClosed, "its connection closed without a goodbye", kLost, now);
}

void Membership::exit(MemberKey who, const ProcessExit& how, Time now) {
  auto it = states_.find(who);
  if (it == states_.end()) return;
  State& s = it->second;
  count(who, s, -1);
  s.gone = true;
  count(who, s, 1);
  std::string text = how.text();
  // A clean end before joining is a loss only to those who have joined, which decide() checks.
  if (!s.member && !how.by_signal && how.code == 0) return;
  if (!s.member) text += " before it joined";
  if (s.member && !how.by_signal && how.code == 0) text += " without a goodbye";
  bool because_of_another = !how.by_signal && (s.secondary || how.code == kLost);
  accuse(who, because_of_another ? kSecondary : kCertain, text, job_exit_code(how), now);
}

void Membership::accuse(MemberKey who, int rank, std::string how, int exit_code, Time now, bool reported) {
  if (loss_ || states_.at(who).left) return;
  if (committed_ && who != *committed_) {
    states_.at(who).given_up = true;
    return;
  }
  if (!finished_)
    evidence_.push_back(
        {rank, now, Loss{who, std::move(how), states_.at(who).operation, exit_code, reported, place_of(who)}});
}

void Membership::notice_standstill(Time now) {
  Duration gap = now - last_decision_;
  last_decision_ = now;
  if (gap <= options_.peer_timeout / 2) return;
  // Heartbeats of that time could not be heard.
  for (auto& [who, s] : states_) s.heard = std::min(now, s.heard + gap);
  if (gap <= options_.peer_timeout || !anyone_joined_ || loss_ || finished_) return;
  Loss loss{options_.host, "it stood still for " + seconds_text(gap) + ", and the others have given it up", "", kLost,
            false};
  evidence_.insert(evidence_.begin(), {kCertain, INT64_MIN, std::move(loss)});
}

void Membership::notice_silence(Time now) {
  if (now < silent_at_) return;
  silent_at_ = kForever;
  for (auto& [who, s] : states_) {
    if (!is_watched(s)) continue;
    if (now - s.heard < options_.peer_timeout) silent_at_ = std::min(silent_at_, s.heard + options_.peer_timeout);
    else accuse(who, kCertain, "no heartbeat for " + seconds_text(now - s.heard), kLost, now);
  }
}

void Membership::notice_missing(Time now) {
  if (assembled_) return;
  if (anyone_joined_ && gone_before_joining_ > 0) {
    for (auto& [who, s] : states_) {
      if (!s.member && s.gone) accuse(who, kCertain, "exited before it joined, and others wait for it", kLost, now);
    }
  }
  if (!join_deadline_ || now < *join_deadline_) return;
  for (auto& [who, s] : states_) {
    if (s.member || s.gone) continue;
    std::string all = missing(),
                how = "did not join within " + seconds_text(options_.join_timeout) + " (job.join_timeout_s)";
    if (all != describe(who)) how += "; missing: " + all;
    return accuse(who, kCertain, how, kLost, now);
  }
}

bool Membership::workers_done() const {
  if (committed_ && states_.at(*committed_).left) return true;
  return workers_at_work_ == 0;
}

std::vector<Decision> Membership::decide(Time now) {
  std::vector<Decision> out;
  notice_standstill(now);
  if (loss_ || (finished_ && !committed_)) return out;
  if (!assembled_ && anyone_joined_ && to_join_ == 0) {
    assembled_ = true;
    out.push_back({.kind = Decision::Kind::assembled});
  }
  notice_missing(now);
  notice_silence(now);
  if (finished_) return out;

  if (evidence_.empty()) {
    if (workers_done()) {
      finished_ = true;
      out.push_back({.kind = Decision::Kind::finished, .committed = committed_.has_value()});
    }
    return out;
  }
  auto oldest = std::min_element(evidence_.begin(), evidence_.end(), [](auto& a, auto& b) { return a.at < b.at; })->at;
  auto best = std::min_element(evidence_.begin(), evidence_.end(),
                               [](auto& a, auto& b) { return std::pair(a.rank, a.at) < std::pair(b.rank, b.at); });
  if (best->rank == kCertain || now - oldest >= kEvidenceGrace) {
    loss_ = best->loss;
    out.push_back({.kind = Decision::Kind::lost, .loss = *loss_});
  }
  return out;
}

Time Membership::next_decision() const {
  if (loss_ || (finished_ && !committed_)) return kForever;
  Time next = std::min(last_decision_ + options_.peer_timeout / 4, silent_at_);
  if (!assembled_ && join_deadline_) next = std::min(next, *join_deadline_);
  for (const auto& e : evidence_) next = std::min(next, e.at + kEvidenceGrace);
  return next;
}

bool Membership::present(MemberKey who) const {
  auto it = states_.find(who);
  return it != states_.end() && it->second.member && !it->second.left;
}

std::string Membership::operation(MemberKey who) const {
  auto it = states_.find(who);
  return it == states_.end() ? "" : it->second.operation;
}

bool Membership::all_gone() const {
  return std::all_of(states_.begin(), states_.end(), [](const auto& entry) {
    return entry.second.left || !entry.second.member || entry.second.given_up;
  });
}

std::vector<Member> Membership::members() const {
  std::vector<Member> out;
  for (const auto& [who, s] : states_) {
    if (s.member) out.push_back(*s.member);
  }
  return out;
}

std::string Membership::missing() const {
  std::string out;
  for (const auto& [who, s] : states_) {
    if (!s.member) out += (out.empty() ? "" : ", ") + describe(who);
  }
  return out;
}

}  // namespace cohaul::job
