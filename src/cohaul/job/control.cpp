#include "cohaul/job/control.h"

namespace cohaul::job {
namespace {

using transport::Role;

std::string to_text(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void put_member(Writer& w, const Member& m) {
  w.put(static_cast<std::uint8_t>(m.role)).put(static_cast<std::int32_t>(m.rank)).put(m.pid).put(m.incarnation.value);
  w.text(m.process).text(m.host).text(m.host_id).text(m.cpus);
  w.put(static_cast<std::int32_t>(m.quota)).put(static_cast<std::int32_t>(m.wants_threads));
  w.text(m.instruction_set).text(m.log);
}

bool get_key(Reader& r, Role& role, int& rank) {
  auto byte = r.get<std::uint8_t>();
  rank = r.get<std::int32_t>();
  role = static_cast<Role>(byte);
  return byte <= static_cast<std::uint8_t>(Role::tool) && rank >= 0;
}

bool get_member(Reader& r, Member& m) {
  if (!get_key(r, m.role, m.rank)) return false;
  m.pid = r.get<std::int64_t>();
  m.incarnation = Incarnation(r.get<std::uint64_t>());
  m.process = r.text();
  m.host = r.text();
  m.host_id = r.text();
  m.cpus = r.text();
  m.quota = r.get<std::int32_t>();
  m.wants_threads = r.get<std::int32_t>();
  m.instruction_set = r.text();
  m.log = r.text();
  return r.ok();
}

void put_meeting(Writer& w, const Meeting& m) {
  w.text(m.group).put(m.number).put(m.progress).text(m.purpose).text(m.facts);
}

bool get_meeting(Reader& r, Meeting& m) {
  m.group = r.text();
  m.number = r.get<std::int64_t>();
  m.progress = r.get<std::int64_t>();
  m.purpose = r.text();
  m.facts = r.text();
  return r.ok() && check(m).ok();
}

/// Returns pairs of a count and a value, since neighbours are mostly on one host.
std::vector<int> in_pairs(const std::vector<int>& values) {
  std::vector<int> out;
  for (const int value : values) {
    if (out.empty() || out.back() != value) out.insert(out.end(), {0, value});
    ++out[out.size() - 2];
  }
  return out;
}

Result<std::vector<int>> from_pairs(const std::vector<int>& pairs) {
  std::vector<int> out;
  for (std::size_t i = 0; i + 1 < pairs.size(); i += 2) {
    if (pairs[i] < 1 || out.size() + static_cast<std::size_t>(pairs[i]) > kListedMax)
      return corrupt("a broken list of hosts");
    out.insert(out.end(), static_cast<std::size_t>(pairs[i]), pairs[i + 1]);
  }
  if (pairs.size() % 2 != 0) return corrupt("a broken list of hosts");
  return out;
}

bool known(std::uint16_t kind) { return (kind >= 1 && kind <= 11) || (kind >= 16 && kind <= 20); }

}  // namespace

std::vector<std::byte> encode_body(const ControlMessage& message) {
  std::vector<std::byte> out;
  Writer(out).put(message.timeout_ms).text(message.key);
  return out;
}

Result<ControlMessage> decode_control(std::uint16_t kind, std::int64_t clock, std::uint64_t key, ConstBytes body,
                                      ConstBytes payload) {
  if (!known(kind)) return corrupt("control message of unknown kind " + std::to_string(kind));
  if (payload.size() > kValueBytesMax)
    return corrupt("control message with a value of " + std::to_string(payload.size()) + " bytes");
  ControlMessage m;
  m.kind = static_cast<ControlKind>(kind);
  m.request = clock;
  m.number = key;
  Reader r(body);
  m.timeout_ms = r.get<std::int64_t>();
  m.key = r.text();
  if (!r.done() || m.key.size() > kKeyBytesMax)
    return corrupt("control message of kind " + std::to_string(kind) + " with a broken body");
  m.value.assign(reinterpret_cast<const char*>(payload.data()), payload.size());
  return m;
}

std::string encode_members(const std::vector<Member>& members) {
  std::vector<std::byte> out;
  Writer w(out);
  w.put(static_cast<std::uint32_t>(members.size()));
  for (const Member& m : members) put_member(w, m);
  return to_text(out);
}

Result<std::vector<Member>> decode_members(std::string_view bytes) {
  Reader r(as_bytes(bytes));
  auto count = r.get<std::uint32_t>();
  std::vector<Member> out;
  for (std::uint32_t i = 0; i < count; ++i) {
    Member m;
    if (!get_member(r, m)) return corrupt("a broken list of members");
    out.push_back(std::move(m));
  }
  if (!r.done()) return corrupt("a broken list of members");
  return out;
}

std::string encode_welcome(const Welcome& welcome) {
  std::vector<std::byte> out;
  Writer(out)
      .put(static_cast<std::int32_t>(welcome.threads))
      .text(encode_ranks(in_pairs(welcome.hosts)))
      .text(encode_members(welcome.members));
  return to_text(out);
}

Result<Welcome> decode_welcome(std::string_view bytes) {
  Reader r(as_bytes(bytes));
  Welcome out{.threads = r.get<std::int32_t>()};
  const std::string hosts = r.text(), members = r.text();
  if (!r.done() || out.threads < 1) return corrupt("a broken welcome");
  COHAUL_ASSIGN(const std::vector<int> pairs, decode_ranks(hosts));
  COHAUL_ASSIGN(out.hosts, from_pairs(pairs));
  COHAUL_ASSIGN(out.members, decode_members(members));
  return out;
}

std::string encode_ranks(const std::vector<int>& ranks) {
  std::vector<std::byte> out;
  Writer w(out);
  w.put(static_cast<std::uint32_t>(ranks.size()));
  for (int rank : ranks) w.put(static_cast<std::int32_t>(rank));
  return to_text(out);
}

Result<std::vector<int>> decode_ranks(std::string_view bytes) {
  Reader r(as_bytes(bytes));
  const auto count = r.get<std::uint32_t>();
  std::vector<int> out;
  for (std::uint32_t i = 0; i < count && r.ok(); ++i) out.push_back(r.get<std::int32_t>());
  if (!r.done()) return corrupt("a broken list of ranks");
  return out;
}

std::string encode_values(const std::vector<std::string>& values) {
  std::vector<std::byte> out;
  Writer w(out);
  w.put(static_cast<std::uint32_t>(values.size()));
  for (const std::string& value : values) w.text(value);
  return to_text(out);
}

Result<std::vector<std::string>> decode_values(std::string_view bytes) {
  Reader r(as_bytes(bytes));
  const auto count = r.get<std::uint32_t>();
  std::vector<std::string> out;
  for (std::uint32_t i = 0; i < count && r.ok(); ++i) out.push_back(r.text());
  if (!r.done()) return corrupt("a broken list of values");
  return out;
}

Status check(const Meeting& m) {
  constexpr std::size_t kOverhead = 64;  // of numbers and lengths
  if (m.group.size() > kKeyBytesMax || m.purpose.size() > kKeyBytesMax)
    return invalid("a meeting's group or purpose is over 1 KB");
  if (m.facts.size() > kValueBytesMax - 2 * kKeyBytesMax - kOverhead) return invalid("a meeting's facts are over 1 MB");
  if (m.number < 0 || m.progress < 0) return invalid("a meeting's number or progress is below 0");
  return {};
}

std::string encode_meeting(const Meeting& meeting) {
  std::vector<std::byte> out;
  Writer w(out);
  put_meeting(w, meeting);
  return to_text(out);
}

Result<Meeting> decode_meeting(std::string_view bytes) {
  Reader r(as_bytes(bytes));
  Meeting meeting;
  if (!get_meeting(r, meeting) || !r.done()) return corrupt("a broken message of a meeting");
  return meeting;
}

std::string encode_absence(const Absence& absence) {
  std::vector<std::byte> out;
  Writer w(out);
  put_meeting(w.put(static_cast<std::int32_t>(absence.worker)), absence.meeting);
  return to_text(out);
}

Result<Absence> decode_absence(std::string_view bytes) {
  Reader r(as_bytes(bytes));
  Absence absence;
  absence.worker = r.get<std::int32_t>();
  if (!get_meeting(r, absence.meeting) || !r.done() || absence.worker < 0)
    return corrupt("a broken message of who waits at a meeting");
  return absence;
}

std::string encode_loss(const Loss& loss) {
  std::vector<std::byte> out;
  Writer w(out);
  w.put(static_cast<std::uint8_t>(loss.who.role)).put(static_cast<std::int32_t>(loss.who.rank));
  w.put(static_cast<std::int32_t>(loss.exit_code))
      .put(static_cast<std::uint8_t>(loss.reported))
      .text(loss.how)
      .text(loss.operation)
      .text(loss.place);
  return to_text(out);
}

Result<Loss> decode_loss(std::string_view bytes) {
  Reader r(as_bytes(bytes));
  Loss loss;
  bool key_ok = get_key(r, loss.who.role, loss.who.rank);
  loss.exit_code = r.get<std::int32_t>();
  loss.reported = r.get<std::uint8_t>() != 0;
  loss.how = r.text();
  loss.operation = r.text();
  loss.place = r.text();
  if (!key_ok || !r.done()) return corrupt("a broken message of a loss");
  return loss;
}

std::string_view library_version() { return COHAUL_VERSION; }

ControlMessage make_join(const Member& member, int workers) {
  ControlMessage m;
  m.kind = ControlKind::join;
  m.number = static_cast<std::uint64_t>(workers);
  m.key = library_version();
  m.value = encode_members({member});
  return m;
}

ControlMessage make_reply(std::int64_t request, const Status& status, std::string value) {
  ControlMessage m;
  m.kind = ControlKind::reply;
  m.request = request;
  m.number = static_cast<std::uint64_t>(status.code());
  m.value = status.ok() ? std::move(value) : status.message();
  return m;
}

Status status_of(const ControlMessage& message) {
  if (message.number > static_cast<std::uint64_t>(Code::internal)) return internal(message.value);
  return {static_cast<Code>(message.number), message.value};
}

}  // namespace cohaul::job
