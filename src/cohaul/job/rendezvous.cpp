#include "cohaul/job/rendezvous.h"

#include <algorithm>
#include <utility>

#include "cohaul/job/job.h"

namespace cohaul::job {
namespace {

/// A foreign number as a time that can be added to others.
Duration milliseconds(std::uint64_t n) {
  return static_cast<Duration>(std::min<std::uint64_t>(n, std::uint64_t{1} << 40)) * kMillisecond;
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
  if (node.mapped().joined) membership_.disconnect(node.mapped().who, now);
}

void Rendezvous::join(std::uint64_t id, Connection& c, const ControlMessage& m, Time now) {
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
  if (membership_.assembled()) welcome(id, c);
}

void Rendezvous::welcome(std::uint64_t id, Connection& c) {
  if (!c.joined || std::exchange(c.answered, true)) return;
  outgoing_.push_back({id, make_reply(c.join_request, {}, encode_members(membership_.members()))});
}

void Rendezvous::received(std::uint64_t connection, const ControlMessage& m, Time now) {
  auto it = connections_.find(connection);
  if (it == connections_.end()) return;
  Connection& c = it->second;
  if (m.kind == ControlKind::join) return join(connection, c, m, now);
  if (!c.joined) {  // Only a member is heard, but a heartbeat may come before its joining does.
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
    case ControlKind::get: store_.get(ticket, m.key, now, timeout); break;
    case ControlKind::barrier:
      store_.barrier(ticket, m.key, static_cast<int>(std::min<std::uint64_t>(m.number, 1 << 20)), now, timeout);
      break;
    case ControlKind::leave:
      membership_.leave(c.who);
      outgoing_.push_back({connection, make_reply(m.request, {})});
      break;
    case ControlKind::commit:
      outgoing_.push_back({connection, make_reply(m.request, membership_.commit(c.who))});
      break;
    case ControlKind::overdue:
      outgoing_.push_back({connection, make_reply(m.request, membership_.overdue(c.who, milliseconds(m.number), now))});
      break;
    case ControlKind::failed:
      membership_.fail(c.who, status_of(m), now);
      outgoing_.push_back({connection, make_reply(m.request, {})});
      break;
    default: break;  // only the rendezvous says the others
  }
}

void Rendezvous::announce(const Loss& loss) {
  ControlMessage m;
  m.kind = ControlKind::lost;
  m.value = encode_loss(loss);
  for (auto& [id, c] : connections_) outgoing_.push_back({id, m});
}

void Rendezvous::advance(Time now) {
  for (Decision& d : membership_.decide(now)) {
    if (d.kind == Decision::Kind::assembled) {
      for (auto& [id, c] : connections_) welcome(id, c);
    } else if (d.kind == Decision::Kind::lost) {
      announce(d.loss);
    } else {
      store_.set({}, kWorkersLeftKey, "yes");  // the answer goes to nobody
    }
    decisions_.push_back(std::move(d));
  }
  store_.expire(now);
  for (Answer& a : store_.take_answers()) {
    outgoing_.push_back({a.to.connection, make_reply(a.to.request, a.status, std::move(a.value))});
  }
}

Time Rendezvous::next_time() const { return std::min(membership_.next_decision(), store_.next_deadline()); }

std::vector<Rendezvous::Outgoing> Rendezvous::take_outgoing() { return std::exchange(outgoing_, {}); }
std::vector<Decision> Rendezvous::take_decisions() { return std::exchange(decisions_, {}); }

}  // namespace cohaul::job
