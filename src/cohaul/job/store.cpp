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
  for (Waiting& w : getters.mapped()) {
    if (w.count == 0) {
      dismiss(w, {}, it->second);
    } else {
      dismiss(w);
      go_on(std::move(w));
    }
  }
}

void Store::await(const std::string& key, Waiting waiting) {
  if (waiting.setter && left_.contains(*waiting.setter)) {
    answers_.push_back({waiting.ticket, has_left(*waiting.setter), {}});
    return;
  }
  deadlines_.insert(waiting.deadline);
  getters_[key].push_back(std::move(waiting));
}

void Store::dismiss(const Waiting& waiting, const Status& verdict, std::string value) {
  dismiss(waiting);
  answers_.push_back({waiting.ticket, verdict, std::move(value)});
}

void Store::get(const Ticket& from, const std::string& key, Time now, Duration timeout,
                std::optional<MemberKey> setter) {
  auto it = values_.find(key);
  if (it != values_.end()) answers_.push_back({from, {}, it->second});
  else await(key, {.ticket = from, .deadline = now + timeout, .timeout = timeout, .setter = setter});
}

void Store::gather(const Ticket& from, const std::string& prefix, int count, bool by_workers, Time now,
                   Duration timeout) {
  go_on({.ticket = from,
         .deadline = now + timeout,
         .timeout = timeout,
         .prefix = prefix,
         .count = count,
         .by_workers = by_workers});
}

/// Lets a caller that gathers wait for its next missing value, one after the other, so that a value wakes only those
/// that miss it.
void Store::go_on(Waiting gathers) {
  for (; gathers.next < gathers.count; ++gathers.next) {
    const std::string key = gathers.prefix + std::to_string(gathers.next);
    if (values_.contains(key)) continue;
    if (gathers.by_workers) gathers.setter = MemberKey{transport::Role::worker, gathers.next};
    return await(key, std::move(gathers));
  }
  std::vector<std::string> values;
  for (int i = 0; i < gathers.count; ++i) values.push_back(values_.at(gathers.prefix + std::to_string(i)));
  std::string all = encode_values(values);
  const bool fits = all.size() <= kValueBytesMax;
  answers_.push_back({gathers.ticket,
                      fits ? Status() : invalid("the store's values '" + gathers.prefix + "…' are over 1 MB"),
                      fits ? std::move(all) : ""});
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
  barrier.waiting.push_back({.ticket = from, .deadline = now + timeout, .timeout = timeout});
  deadlines_.insert(now + timeout);
  const bool full = static_cast<int>(barrier.waiting.size()) >= count;
  Status verdict = full ? Status{} : missed_for_ever(barrier).context("barrier '" + name + "'");
  if (!full && verdict.ok()) return;
  for (const Waiting& w : barrier.waiting) dismiss(w, verdict);
  barriers_.erase(name);
}

Status Store::has_left(MemberKey who) { return invalid(describe(who) + " has left the job"); }

Status Store::missed_for_ever(const Barrier& barrier) const {
  if (barrier.count != workers_) return {};
  for (MemberKey who : left_) {
    const auto is_it = [&](const Waiting& w) { return w.ticket.who == who; };
    if (who.role == transport::Role::worker && std::ranges::none_of(barrier.waiting, is_it)) return has_left(who);
  }
  return {};
}

void Store::leave(MemberKey who) {
  left_.insert(who);
  for (auto& [key, waiting] : getters_) {
    std::erase_if(waiting, [&](const Waiting& w) {
      if (w.setter != who) return false;
      dismiss(w, has_left(who));
      return true;
    });
  }
  std::erase_if(barriers_, [&](const auto& entry) {
    Status verdict = missed_for_ever(entry.second).context("barrier '" + entry.first + "'");
    if (verdict.ok() || entry.second.waiting.empty()) return false;
    for (const Waiting& w : entry.second.waiting) dismiss(w, verdict);
    return true;
  });
}

void Store::forget(std::uint64_t connection) {
  auto gone = [&](const Waiting& w) {
    if (w.ticket.connection != connection) return false;
    dismiss(w);
    return true;
  };
  for (auto& [key, waiting] : getters_) std::erase_if(waiting, gone);
  for (auto& [name, barrier] : barriers_) std::erase_if(barrier.waiting, gone);
}

std::vector<MemberKey> Store::absent(const Barrier& barrier) const {
  std::vector<MemberKey> out;
  if (barrier.count != workers_) return out;
  std::set<MemberKey> here;
  for (const Waiting& w : barrier.waiting) here.insert(w.ticket.who);
  for (int rank = 0; rank < workers_; ++rank) {
    const MemberKey who{transport::Role::worker, rank};
    if (!here.contains(who)) out.push_back(who);
  }
  return out;
}

void Store::expire(Time now) {
  if (now < next_deadline()) return;
  for (auto& entry : getters_) {
    const std::string& key = entry.first;
    std::erase_if(entry.second, [&](const Waiting& w) {
      if (now < w.deadline) return false;
      dismiss(w, peer_lost("nobody has set '" + key + "' within " + seconds_text(w.timeout)));
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
      dismiss(w, peer_lost("barrier '" + name + "': " + text + seconds_text(w.timeout) + missing));
      return true;
    });
  }
}

std::vector<Answer> Store::take_answers() { return std::exchange(answers_, {}); }

}  // namespace cohaul::job
