#include "cohaul/job/store.h"

#include <algorithm>

#include "cohaul/job/control.h"

namespace cohaul::job {

void Store::set(const Ticket& from, const std::string& key, std::string value) {
  if (value.size() > kValueBytesMax || key.size() > kKeyBytesMax) {
    answers_.push_back(
        {from,
         invalid("the store's value '" + key + "' of " + std::to_string(value.size()) + " bytes: at most 1 MB"),
         {}});
    return;
  }
  auto [it, is_new] = values_.try_emplace(key, std::move(value));
  if (!is_new && it->second != value) {
    answers_.push_back({from, invalid("the store's value '" + key + "' is set already: values are written once"), {}});
    return;
  }
  answers_.push_back({from, {}, {}});
  auto getters = getters_.extract(key);
  if (getters.empty()) return;
  for (const Waiting& w : getters.mapped()) answers_.push_back({w.ticket, {}, it->second});
}

void Store::get(const Ticket& from, const std::string& key, Time now, Duration timeout,
                std::optional<MemberKey> setter) {
  auto it = values_.find(key);
  if (it != values_.end()) {
    answers_.push_back({from, {}, it->second});
  } else if (setter && left_.contains(*setter)) {
    answers_.push_back({from, has_left(*setter), {}});
  } else {
    getters_[key].push_back({from, now + timeout, timeout, setter});
  }
}

std::string Store::value(const std::string& key) const {
  const auto it = values_.find(key);
  return it == values_.end() ? std::string() : it->second;
}

void Store::barrier(const Ticket& from, const std::string& name, int count, Time now, Duration timeout) {
  Barrier& barrier = barriers_[name];
  if (barrier.waiting.empty()) barrier.count = count;
  if (count < 1 || barrier.count != count) {
    answers_.push_back({from,
                        invalid("barrier '" + name + "' of " + std::to_string(count) + ": others wait in it for " +
                                std::to_string(barrier.count)),
                        {}});
    return;
  }
  barrier.waiting.push_back({from, now + timeout, timeout, {}});
  const bool full = static_cast<int>(barrier.waiting.size()) >= count;
  Status verdict = full ? Status{} : missed_for_ever(barrier).context("barrier '" + name + "'");
  if (!full && verdict.ok()) return;
  for (const Waiting& w : barrier.waiting) answers_.push_back({w.ticket, verdict, {}});
  barriers_.erase(name);
}

Status Store::has_left(MemberKey who) { return invalid(describe(who) + " has left the job"); }

Status Store::missed_for_ever(const Barrier& barrier) const {
  for (MemberKey who : absent(barrier)) {
    if (left_.contains(who)) return has_left(who);
  }
  return {};
}

void Store::leave(MemberKey who) {
  left_.insert(who);
  for (auto& [key, waiting] : getters_) {
    std::erase_if(waiting, [&](const Waiting& w) {
      if (w.setter != who) return false;
      answers_.push_back({w.ticket, has_left(who), {}});
      return true;
    });
  }
  std::erase_if(barriers_, [&](const auto& entry) {
    Status verdict = missed_for_ever(entry.second).context("barrier '" + entry.first + "'");
    if (verdict.ok() || entry.second.waiting.empty()) return false;
    for (const Waiting& w : entry.second.waiting) answers_.push_back({w.ticket, verdict, {}});
    return true;
  });
}

void Store::forget(std::uint64_t connection) {
  auto gone = [&](const Waiting& w) { return w.ticket.connection == connection; };
  for (auto& [key, waiting] : getters_) std::erase_if(waiting, gone);
  for (auto& [name, barrier] : barriers_) std::erase_if(barrier.waiting, gone);
}

std::vector<MemberKey> Store::absent(const Barrier& barrier) const {
  std::vector<MemberKey> out;
  if (barrier.count != workers_) return out;
  for (int rank = 0; rank < workers_; ++rank) {
    MemberKey who{transport::Role::worker, rank};
    auto is_it = [&](const Waiting& w) { return w.ticket.who == who; };
    if (std::none_of(barrier.waiting.begin(), barrier.waiting.end(), is_it)) out.push_back(who);
  }
  return out;
}

void Store::expire(Time now) {
  for (auto& entry : getters_) {
    const std::string& key = entry.first;
    std::erase_if(entry.second, [&](const Waiting& w) {
      if (now < w.deadline) return false;
      answers_.push_back({w.ticket, peer_lost("nobody has set '" + key + "' within " + seconds_text(w.timeout)), {}});
      return true;
    });
  }
  for (auto& entry : barriers_) {
    const std::string& name = entry.first;
    Barrier& barrier = entry.second;
    std::string text =
        std::to_string(barrier.waiting.size()) + " of " + std::to_string(barrier.count) + " have come within ";
    std::string missing;
    for (MemberKey who : absent(barrier)) missing += (missing.empty() ? "; missing: " : ", ") + describe(who);
    std::erase_if(barrier.waiting, [&](const Waiting& w) {
      if (now < w.deadline) return false;
      answers_.push_back(
          {w.ticket, peer_lost("barrier '" + name + "': " + text + seconds_text(w.timeout) + missing), {}});
      return true;
    });
  }
}

Time Store::next_deadline() const {
  Time next = kForever;
  for (const auto& [key, waiting] : getters_) {
    for (const Waiting& w : waiting) next = std::min(next, w.deadline);
  }
  for (const auto& [name, barrier] : barriers_) {
    for (const Waiting& w : barrier.waiting) next = std::min(next, w.deadline);
  }
  return next;
}

std::vector<Answer> Store::take_answers() { return std::exchange(answers_, {}); }

}  // namespace cohaul::job
