#include "cohaul/job/rendezvous.h"

#include <algorithm>
#include <utility>

#include "cohaul/job/cores.h"
#include "cohaul/job/job.h"

namespace cohaul::job {
namespace {

/// Returns a foreign number as a time that can be added to others.
Duration milliseconds(std::uint64_t n) {
  return static_cast<Duration>(std::min<std::uint64_t>(n, std::uint64_t{1} << 40)) * kMillisecond;
}

/// Returns the member that is to set what `get` asks for, if it says so.
std::optional<MemberKey> setter_of(const ControlMessage& get) {
  if (get.number == 0 || get.number > (1 << 20)) return std::nullopt;
  return MemberKey{transport::Role::worker, static_cast<int>(get.number - 1)};
}

}  // namespace

void Rendezvous::connected(std::uint64_t connection, MemberKey who) {
  connections_[connection].who = who;
  if (!membership_.loss()) return;
  ControlMessage m;
  m.kind = ControlKind::lost;
  m.value = encode_loss(*membership_.loss());
  outgoing_.push_back({connection, std::move(m)});
}

void Rendezvous::disconnected(std::uint64_t connection, Time now) {
  auto node = connections_.extract(connection);
  if (node.empty()) return;
  store_.forget(connection);
  meetings_.forget(connection);
  if (node.mapped().joined) membership_.disconnect(node.mapped().who, now);
}

Status Rendezvous::check_fit(MemberKey who, const ControlMessage& join) const {
  const Membership::Options& o = membership_.options();
  if (who.role != transport::Role::worker && who.role != transport::Role::server) return {};  // no member anyhow
  if (join.key != library_version()) {
    return invalid("has version " + (join.key.empty() ? "unknown" : join.key) + " of Cohaul, " + describe(o.host) +
                   " has " + std::string(library_version()) + ": every process needs the same one");
  }
  if (join.number == static_cast<std::uint64_t>(o.workers)) return {};
  return invalid("counts " + std::to_string(join.number) + " workers in the job, " + describe(o.host) + " counts " +
                 std::to_string(o.workers) + ": every process needs the same number of workers (WORLD_SIZE)");
}

void Rendezvous::join(std::uint64_t id, Connection& c, const ControlMessage& m, Time now) {
  if (Status fits = check_fit(c.who, m); !fits.ok()) {
    membership_.misfit(c.who, fits, now);
    outgoing_.push_back({id, make_reply(m.request, fits.context(describe(c.who)))});
    return;
  }
  auto members = decode_members(m.value);
  Status status = members.ok() && members->size() == 1 && members->front().key() == c.who
                      ? membership_.join(members->front(), now)
                      : corrupt("a broken message to join from " + describe(c.who));
  if (!status.ok()) {
    outgoing_.push_back({id, make_reply(m.request, status)});
    return;
  }
  c.joined = true;
  c.join_request = m.request;
  c.host_id = members->front().host_id;
  welcomes_.clear();
  if (membership_.assembled()) welcome(id, c);
}

void Rendezvous::welcome(std::uint64_t id, Connection& c) {
  if (!c.joined || std::exchange(c.answered, true)) return;
  outgoing_.push_back({id, make_reply(c.join_request, {}, welcome_for(c))});
}

/// Returns the welcome. Worker 0 gets all members, since it records them; others only those of their host, since all
/// lists of all would be quadratic.
std::string Rendezvous::welcome_for(const Connection& c) {
  const bool is_first = c.who == MemberKey{transport::Role::worker, 0};
  if (!is_first && welcomes_.contains(c.host_id)) return welcomes_.at(c.host_id);
  Welcome all{.members = membership_.members()};
  all.threads = default_threads(all.members);
  all.hosts = hosts_of_workers(all.members);
  if (is_first) return encode_welcome(all);
  std::erase_if(all.members, [&](const Member& m) { return m.host_id != c.host_id; });
  return welcomes_[c.host_id] = encode_welcome(all);
}

void Rendezvous::received(std::uint64_t connection, const ControlMessage& m, Time now) {
  auto it = connections_.find(connection);
  if (it == connections_.end()) return;
  Connection& c = it->second;
  if (m.kind == ControlKind::join) return join(connection, c, m, now);
  if (!c.joined) {  // Only a member is heard, but a heartbeat may come before the member has joined.
    if (m.request != 0)
      outgoing_.push_back({connection, make_reply(m.request, invalid(describe(c.who) + " has not joined"))});
    return;
  }
  Ticket ticket{connection, m.request, c.who};
  Duration timeout = milliseconds(static_cast<std::uint64_t>(std::max<std::int64_t>(m.timeout_ms, 0)));
  switch (m.kind) {
    case ControlKind::heartbeat: {
      membership_.heartbeat(c.who, m.value.substr(0, 256), milliseconds(m.number), now);
      ControlMessage alive;
      alive.kind = ControlKind::alive;
      outgoing_.push_back({connection, std::move(alive)});
      break;
    }
    case ControlKind::set: store_.set(ticket, m.key, m.value); break;
    case ControlKind::get: store_.get(ticket, m.key, now, timeout, setter_of(m)); break;
    case ControlKind::gather:
      store_.gather(ticket, m.key, static_cast<int>(std::min<std::uint64_t>(m.number, 1 << 20)),
                    m.value == kSetByWorkers, now, timeout);
      break;
    case ControlKind::barrier:
      store_.barrier(ticket, m.key, static_cast<int>(std::min<std::uint64_t>(m.number, 1 << 20)), now, timeout);
      break;
    case ControlKind::meet: meet(ticket, m, now, timeout); break;
    case ControlKind::leave: leave(ticket); break;
    case ControlKind::commit:
      outgoing_.push_back({connection, make_reply(m.request, membership_.commit(c.who))});
      break;
    case ControlKind::overdue:
      outgoing_.push_back({connection, make_reply(m.request, membership_.overdue(c.who, milliseconds(m.number), now))});
      break;
    case ControlKind::failed:
      membership_.heartbeat(c.who, m.key, 0, now);
      membership_.fail(c.who, status_of(m), now);
      outgoing_.push_back({connection, make_reply(m.request, {})});
      break;
    default: break;  // only the rendezvous says the others
  }
}

void Rendezvous::meet(const Ticket& from, const ControlMessage& m, Time now, Duration timeout) {
  auto meeting = decode_meeting(m.value);
  if (meeting.ok()) return meetings_.meet(from, std::move(*meeting), now, timeout);
  outgoing_.push_back({from.connection, make_reply(from.request, meeting.status().context(describe(from.who)))});
}

void Rendezvous::leave(const Ticket& from) {
  membership_.leave(from.who);
  store_.leave(from.who);
  if (from.who.role == transport::Role::worker) {
    meetings_.leave(from.who.rank);
    goodbyes_.push_back(from.who.rank);
  }
  outgoing_.push_back({from.connection, make_reply(from.request, {})});
}

void Rendezvous::tell_of_goodbyes(Time now) {
  if (goodbyes_.empty() || now < tell_left_at_) return;
  ControlMessage left;
  left.kind = ControlKind::left;
  left.value = encode_ranks(std::exchange(goodbyes_, {}));
  tell_others(-1, left);
  tell_left_at_ = now + kTellLeftEvery;
}

void Rendezvous::tell_others(int worker, const ControlMessage& message) {
  for (const auto& [id, c] : connections_) {
    if (c.joined && membership_.present(c.who) && c.who != MemberKey{transport::Role::worker, worker})
      outgoing_.push_back({id, message});
  }
}

void Rendezvous::answer(std::vector<Answer> answers) {
  for (Answer& a : answers)
    outgoing_.push_back({a.to.connection, make_reply(a.to.request, a.status, std::move(a.value))});
}

void Rendezvous::announce(const Loss& loss) {
  ControlMessage m;
  m.kind = ControlKind::lost;
  m.value = encode_loss(loss);
  for (auto& [id, c] : connections_) outgoing_.push_back({id, m});
}

void Rendezvous::advance(Time now) {
  tell_of_goodbyes(now);
  for (Decision& d : membership_.decide(now)) {
    if (d.kind == Decision::Kind::assembled) {
      for (auto& [id, c] : connections_) welcome(id, c);
    } else if (d.kind == Decision::Kind::lost) {
      announce(d.loss);
    } else {
      d.stopped = store_.value(kStoppedKey);
      store_.set({}, kWorkersLeftKey, "yes");  // no connection gets the answer
    }
    decisions_.push_back(std::move(d));
  }
  store_.expire(now);
  meetings_.expire(now, [this](MemberKey who) { return membership_.operation(who); });
  answer(store_.take_answers());
  answer(meetings_.take_answers());
  for (const Absence& absence : meetings_.take_absences()) {
    ControlMessage waits;
    waits.kind = ControlKind::waits;
    waits.value = encode_absence(absence);
    tell_others(absence.worker, waits);
  }
}

Time Rendezvous::next_time() const {
  return std::min({membership_.next_decision(), store_.next_deadline(), meetings_.next_time(),
                   goodbyes_.empty() ? kForever : tell_left_at_});
}

std::vector<Rendezvous::Outgoing> Rendezvous::take_outgoing() { return std::exchange(outgoing_, {}); }
std::vector<Decision> Rendezvous::take_decisions() { return std::exchange(decisions_, {}); }

}  // namespace cohaul::job
