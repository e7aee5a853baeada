#include "cohaul/job/store.h"

#include <algorithm>
#include <cstdio>

#include "cohaul/job/control.h"

namespace cohaul::job {
namespace {

std::string seconds_text(Duration d) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f s", static_cast<double>(d) / kSecond);
  return text;
}

}  // namespace

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

void Store::get(const Ticket& from, const std::string& key, Time now, Duration timeout) {
  auto it = values_.find(key);
  if (it != values_.end()) {
    answers_.push_back({from, {}, it->second});
  } else {
    getters_[key].push_back({from, now + timeout, timeout});
  }
}

void Store::barrier(const Ticket& from, const std::string& name, int count, Time now, Duration timeout) {
  Meeting& meeting = meetings_[name];
  if (meeting.waiting.empty()) meeting.count = count;
  if (count < 1 || meeting.count != count) {
    answers_.push_back({from,
                        invalid("barrier '" + name + "' of " + std::to_string(count) + ": others wait in it for " +
                                std::to_string(meeting.count)),
                        {}});
    return;
  }
  meeting.waiting.push_back({from, now + timeout, timeout});
  if (static_cast<int>(meeting.waiting.size()) < count) return;
  for (const Waiting& w : meeting.waiting) answers_.push_back({w.ticket, {}, {}});
  meetings_.erase(name);
}

void Store::forget(std::uint64_t connection) {
  auto gone = [&](const Waiting& w) { return w.ticket.connection == connection; };
  for (auto& [key, waiting] : getters_) std::erase_if(waiting, gone);
  for (auto& [name, meeting] : meetings_) std::erase_if(meeting.waiting, gone);
}

std::string Store::absent(const Meeting& meeting) const {
  if (meeting.count != workers_) return "";
  std::string out;
  for (int rank = 0; rank < workers_; ++rank) {
    MemberKey who{transport::Role::worker, rank};
    if (std::any_of(meeting.waiting.begin(), meeting.waiting.end(),
                    [&](const Waiting& w) { return w.ticket.who == who; }))
      continue;
    out += (out.empty() ? "; missing: " : ", ") + describe(who);
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
  for (auto& entry : meetings_) {
    const std::string& name = entry.first;
    Meeting& meeting = entry.second;
    std::string text =
        std::to_string(meeting.waiting.size()) + " of " + std::to_string(meeting.count) + " have come within ";
    std::string missing = absent(meeting);
    std::erase_if(meeting.waiting, [&](const Waiting& w) {
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
  for (const auto& [name, meeting] : meetings_) {
    for (const Waiting& w : meeting.waiting) next = std::min(next, w.deadline);
  }
  return next;
}

std::vector<Answer> Store::take_answers() { return std::exchange(answers_, {}); }

}  // namespace cohaul::job
