#include "cohaul/job/meetings.h"

#include <algorithm>

#include "cohaul/base/facts.h"

namespace cohaul::job {
namespace {

std::string worker_text(int worker) { return describe(MemberKey{transport::Role::worker, worker}); }

std::string steps_text(std::int64_t n) { return std::to_string(n) + (n == 1 ? " step" : " steps"); }

}  // namespace

std::string describe(const Meeting& meeting) { return meeting.purpose + " after " + steps_text(meeting.progress); }

bool Meetings::Gathering::expects(int worker) const {
  auto it = came.find(worker);
  return it == came.end() || !it->second.waits;
}

void Meetings::meet(const Ticket& from, Meeting meeting, Time now, Duration timeout) {
  const int worker = from.who.rank;
  auto refuse = [&](const std::string& why) {
    answers_.push_back({from, invalid(meeting.group + ": " + describe(from.who) + why), {}});
  };
  if (from.who.role != transport::Role::worker || worker < 0 || worker >= workers_)
    return refuse(" does not meet: workers do");
  auto held = held_.find(meeting.group);
  if (held != held_.end() && meeting.number <= held->second)
    return refuse(" comes to meeting " + std::to_string(meeting.number) + ", which is over");
  Gathering& gathering = open_[{meeting.group, meeting.number}];
  if (!gathering.expects(worker))
    return refuse(" is in " + describe(gathering.came[worker].meeting) + " already: one thread at a time");

  progress_[{meeting.group, worker}] = meeting.progress;
  if (gathering.verdict.ok()) gathering.verdict = compare(gathering, worker, meeting);
  const std::pair<std::string, std::int64_t> key{meeting.group, meeting.number};
  if (meeting.progress < gathering.told) gathering.tell_at = std::min(gathering.tell_at, now + kTellAfter);
  gathering.came[worker] = {std::move(meeting), from, true, now, now + timeout, timeout};
  ++gathering.waiting;
  deadlines_.insert(now + timeout);
  if (gathering.verdict.ok()) gathering.verdict = missed_for_ever(gathering);
  if (!gathering.verdict.ok()) return settle(gathering);
  if (gathering.waiting < workers_) return;
  settle(gathering);
  held_[key.first] = key.second;
  open_.erase(key);
}

// All that came before agree, so one of them is enough.
Status Meetings::compare(const Gathering& gathering, int worker, const Meeting& meeting) const {
  auto other = std::find_if(gathering.came.begin(), gathering.came.end(),
                            [&](const auto& entry) { return entry.first != worker; });
  if (other == gathering.came.end()) return {};
  std::pair<int, const Meeting*> a{other->first, &other->second.meeting}, b{worker, &meeting};
  if (b.first < a.first) std::swap(a, b);
  if (a.second->purpose != b.second->purpose) {
    return invalid(meeting.group + ": " + worker_text(a.first) + " is in " + describe(*a.second) + ", " +
                   worker_text(b.first) + " in " + describe(*b.second) +
                   ": all workers must make the same calls in the same order");
  }
  return compare_facts(a.second->facts, worker_text(a.first), b.second->facts, worker_text(b.first))
      .context(meeting.group);
}

Status Meetings::missed_for_ever(const Gathering& gathering) const {
  if (gathering.came.empty()) return {};
  const Meeting& meeting = gathering.came.begin()->second.meeting;
  for (int worker : left_) {
    if (!gathering.expects(worker)) continue;
    auto steps = progress_.find({meeting.group, worker});
    return invalid(worker_text(worker) + " has left the job" +
                   (steps == progress_.end() ? "" : " after " + steps_text(steps->second) + " of " + meeting.group) +
                   ", and " + worker_text(gathering.came.begin()->first) + " waits for it in " + describe(meeting) +
                   " of " + meeting.group + ": all workers must make the same calls");
  }
  return {};
}

void Meetings::settle(Gathering& gathering) {
  for (auto& [worker, arrival] : gathering.came) {
    if (dismiss(gathering, arrival)) answers_.push_back({arrival.ticket, gathering.verdict, {}});
  }
}

bool Meetings::dismiss(Gathering& gathering, Arrival& arrival) {
  if (!std::exchange(arrival.waits, false)) return false;
  --gathering.waiting;
  deadlines_.erase(deadlines_.find(arrival.deadline));
  return true;
}

void Meetings::leave(int worker) {
  left_.insert(worker);
  for (auto& [key, gathering] : open_) {
    if (!gathering.verdict.ok()) continue;
    gathering.verdict = missed_for_ever(gathering);
    if (!gathering.verdict.ok()) settle(gathering);
  }
}

void Meetings::forget(std::uint64_t connection) {
  for (auto& [key, gathering] : open_) {
    for (auto& [worker, arrival] : gathering.came) {
      if (arrival.ticket.connection == connection) dismiss(gathering, arrival);
    }
  }
}

std::string Meetings::whereabouts(int worker, const std::function<std::string(MemberKey)>& last_operation) const {
  for (const auto& [key, gathering] : open_) {
    if (!gathering.expects(worker)) return "in " + describe(gathering.came.at(worker).meeting) + " of " + key.first;
  }
  std::string operation = last_operation({transport::Role::worker, worker});
  return operation.empty() ? "" : "last operation: " + operation;
}

std::string Meetings::waited_in_vain(const Gathering& gathering, const Arrival& arrival,
                                     const std::function<std::string(MemberKey)>& last_operation) const {
  std::string missing;
  for (int worker = 0; worker < workers_; ++worker) {
    if (!gathering.expects(worker)) continue;
    std::string doing = whereabouts(worker, last_operation);
    missing += (missing.empty() ? "" : ", ") + worker_text(worker) + (doing.empty() ? "" : " (" + doing + ")");
  }
  return arrival.meeting.group + ": " + worker_text(arrival.ticket.who.rank) + " is in " + describe(arrival.meeting) +
         ", and has waited " + seconds_text(arrival.timeout) + " in vain for " + missing;
}

/// Makes news of the worker that has waited long enough after the fewest steps, and sets when there may be more news.
void Meetings::tell(Gathering& gathering, Time now) {
  const Arrival* first = nullptr;
  for (const auto& [worker, arrival] : gathering.came) {
    if (!arrival.waits || now < arrival.came_at + kTellAfter || arrival.meeting.progress >= gathering.told) continue;
    if (first == nullptr || arrival.meeting.progress < first->meeting.progress) first = &arrival;
  }
  if (first != nullptr) {
    const Meeting& m = first->meeting;
    gathering.told = m.progress;
    absences_.push_back({first->ticket.who.rank, {m.group, m.number, m.purpose, m.progress, {}}});
  }
  gathering.tell_at = kForever;
  for (const auto& [worker, arrival] : gathering.came) {
    if (arrival.waits && arrival.meeting.progress < gathering.told)
      gathering.tell_at = std::min(gathering.tell_at, arrival.came_at + kTellAfter);
  }
}

void Meetings::expire(Time now, const std::function<std::string(MemberKey)>& last_operation) {
  const bool someone_is_late = !deadlines_.empty() && now >= *deadlines_.begin();
  for (auto& [key, gathering] : open_) {
    if (now >= gathering.tell_at) tell(gathering, now);
    std::vector<Arrival*> over;
    for (auto& [worker, arrival] : gathering.came) {
      if (!someone_is_late) break;
      if (arrival.waits && now >= arrival.deadline) over.push_back(&arrival);
    }
    for (Arrival* arrival : over)
      answers_.push_back({arrival->ticket, peer_lost(waited_in_vain(gathering, *arrival, last_operation)), {}});
    for (Arrival* arrival : over) dismiss(gathering, *arrival);
  }
}

Time Meetings::next_time() const {
  Time next = deadlines_.empty() ? kForever : *deadlines_.begin();
  for (const auto& [key, gathering] : open_) {
    if (gathering.waiting > 0) next = std::min(next, gathering.tell_at);
  }
  return next;
}

}  // namespace cohaul::job
