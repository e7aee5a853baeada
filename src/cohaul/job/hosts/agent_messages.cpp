#include "cohaul/job/hosts/agent_messages.h"

#include <charconv>
#include <utility>

#include "cohaul/job/control.h"

namespace cohaul::job {
namespace {

using Fields = std::map<std::string, std::string>;
using Words = std::vector<std::string>;
using Pairs = std::vector<std::pair<std::string, std::string>>;

/// Lists keep their order: keys are numbers with leading zeros.
std::string key_of(const std::string& name, std::size_t index) {
  std::string digits = std::to_string(index);
  return name + "." + std::string(digits.size() < 6 ? 6 - digits.size() : 0, '0') + digits;
}

/// The fields "name.KEY", by key.
Fields below(const AgentMessage& message, const std::string& name) {
  Fields out;
  const std::string prefix = name + ".";
  for (auto it = message.fields.lower_bound(prefix); it != message.fields.end() && it->first.starts_with(prefix); ++it)
    out.emplace(it->first.substr(prefix.size()), it->second);
  return out;
}

void put_words(Fields& fields, const std::string& name, const Words& words) {
  for (std::size_t i = 0; i < words.size(); ++i) fields[key_of(name, i)] = words[i];
}

Words words_of(const AgentMessage& message, const std::string& name) {
  Words out;
  for (auto& [key, word] : below(message, name)) out.push_back(word);
  return out;
}

void put_pairs(Fields& fields, const std::string& name, const Pairs& pairs) {
  for (std::size_t i = 0; i < pairs.size(); ++i) fields[key_of(name, i)] = pairs[i].first + "=" + pairs[i].second;
}

Pairs pairs_of(const AgentMessage& message, const std::string& name) {
  Pairs out;
  for (const std::string& pair : words_of(message, name)) {
    const std::size_t equals = pair.find('=');
    out.emplace_back(pair.substr(0, equals), equals == std::string::npos ? "" : pair.substr(equals + 1));
  }
  return out;
}

std::uint64_t unsigned_of(const AgentMessage& message, const std::string& name) {
  const std::string text = message.text(name);
  std::uint64_t out = 0;
  (void)std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

std::string milliseconds_text(double s) { return std::to_string(static_cast<std::int64_t>(s * 1000)); }

}  // namespace

std::string text_of(MemberKey who) { return std::string(transport::name(who.role)) + " " + std::to_string(who.rank); }

Result<MemberKey> member_of_text(const std::string& text) {
  using transport::Role;
  for (const Role role : {Role::worker, Role::server, Role::launcher}) {
    const std::string name = std::string(transport::name(role)) + " ";
    if (!text.starts_with(name)) continue;
    MemberKey out{role, -1};
    const char* const end = text.data() + text.size();
    const auto [at, error] = std::from_chars(text.data() + name.size(), end, out.rank);
    if (error == std::errc() && at == end && out.rank >= 0) return out;
  }
  return corrupt("'" + text + "' is no member of a job");
}

AgentMessage message_of(const CrewPlan& plan) {
  AgentMessage out{kPrepare};
  Fields& f = out.fields;
  Words members;
  for (const MemberKey who : plan.members) members.push_back(text_of(who));
  put_words(f, "member", members);
  put_words(f, "worker", plan.worker_command);
  put_words(f, "server", plan.server_command);
  put_words(f, "output", plan.outputs);
  put_pairs(f, "environment", plan.environment);
  for (const auto& [name, text] : plan.texts) f["text." + name] = text;
  for (const auto& [who, path] : plan.shown_logs) f["log." + text_of(who)] = path;
  for (const auto& [who, c] : plan.certificates) {
    f["certificate." + text_of(who)] = c.chain;
    f["key." + text_of(who)] = c.key;
    f["authority"] = c.authority;
    f["certified job"] = c.job;
  }
  f["workers"] = std::to_string(plan.workers);
  f["servers"] = std::to_string(plan.servers);
  f["pin"] = plan.pin ? "1" : "0";
  f["threads"] = std::to_string(plan.threads);
  f["address"] = plan.address;
  f["port"] = std::to_string(plan.port);
  f["first port"] = std::to_string(plan.ports.first);
  f["last port"] = std::to_string(plan.ports.last);
  f["token"] = std::to_string(plan.token);
  f["peer timeout ms"] = milliseconds_text(plan.peer_timeout_s);
  f["join timeout ms"] = milliseconds_text(plan.join_timeout_s);
  f["must join"] = plan.must_join ? "1" : "0";
  return out;
}

Result<CrewPlan> plan_of(const AgentMessage& m) {
  CrewPlan out{.members = {},
               .workers = static_cast<int>(m.number("workers")),
               .servers = static_cast<int>(m.number("servers"))};
  for (const std::string& text : words_of(m, "member")) {
    COHAUL_ASSIGN(const MemberKey who, member_of_text(text));
    out.members.push_back(who);
  }
  out.worker_command = words_of(m, "worker");
  out.server_command = words_of(m, "server");
  out.outputs = words_of(m, "output");
  out.environment = pairs_of(m, "environment");
  out.texts = below(m, "text");
  for (auto& [text, path] : below(m, "log")) {
    COHAUL_ASSIGN(const MemberKey who, member_of_text(text));
    out.shown_logs[who] = path;
  }
  for (auto& [text, chain] : below(m, "certificate")) {
    COHAUL_ASSIGN(const MemberKey who, member_of_text(text));
    out.certificates[who] = {.chain = chain,
                             .key = m.text("key." + text),
                             .authority = m.text("authority"),
                             .job = m.text("certified job"),
                             .expires = false};
  }
  out.pin = m.number("pin") != 0;
  out.threads = static_cast<int>(m.number("threads"));
  out.address = m.text("address");
  out.port = static_cast<std::uint16_t>(m.number("port"));
  out.ports = {static_cast<std::uint16_t>(m.number("first port")), static_cast<std::uint16_t>(m.number("last port"))};
  out.token = unsigned_of(m, "token");
  out.peer_timeout_s = static_cast<double>(m.number("peer timeout ms")) / 1000;
  out.join_timeout_s = static_cast<double>(m.number("join timeout ms")) / 1000;
  out.must_join = m.number("must join") != 0;
  if (out.workers < 1 || out.servers < 0 || out.threads < 0 || out.members.empty())
    return corrupt("a plan of an agent that is broken");
  return out;
}

AgentMessage message_of(const CrewEvent& e) {
  AgentMessage out;
  Fields& f = out.fields;
  switch (e.kind) {
    case CrewEvent::Kind::exited:
      out.kind = kExited;
      f["who"] = text_of(e.who);
      f["by signal"] = e.exit.by_signal ? "1" : "0";
      f["code"] = std::to_string(e.exit.code);
      f["why"] = e.exit.why;
      break;
    case CrewEvent::Kind::decided:
      out.kind = kDecided;
      f["decision"] = std::to_string(static_cast<int>(e.decision.kind));
      if (e.decision.kind == Decision::Kind::lost) f["loss"] = encode_loss(e.decision.loss);
      f["committed"] = e.decision.committed ? "1" : "0";
      f["stopped"] = e.decision.stopped;
      break;
    case CrewEvent::Kind::asked:
      out.kind = kAsked;
      f["signal"] = std::to_string(e.signal);
      f["taken"] = e.taken ? "1" : "0";
      break;
    case CrewEvent::Kind::lost: break;  // only the launcher's side has it
  }
  return out;
}

Result<CrewEvent> event_of(const AgentMessage& m) {
  if (m.kind == kExited) {
    COHAUL_ASSIGN(const MemberKey who, member_of_text(m.text("who")));
    return CrewEvent{.kind = CrewEvent::Kind::exited,
                     .who = who,
                     .exit = {m.number("by signal") != 0, static_cast<int>(m.number("code")), m.text("why")}};
  }
  if (m.kind == kDecided) {
    const std::int64_t kind = m.number("decision");
    if (kind < 0 || kind > static_cast<int>(Decision::Kind::finished)) return corrupt("an unknown decision");
    Decision d{.kind = static_cast<Decision::Kind>(kind),
               .committed = m.number("committed") != 0,
               .stopped = m.text("stopped")};
    if (d.kind == Decision::Kind::lost) {
      COHAUL_ASSIGN(d.loss, decode_loss(m.text("loss")));
    }
    return CrewEvent{.kind = CrewEvent::Kind::decided, .decision = std::move(d)};
  }
  if (m.kind == kAsked)
    return CrewEvent{.kind = CrewEvent::Kind::asked,
                     .signal = static_cast<int>(m.number("signal")),
                     .taken = m.number("taken") != 0};
  return corrupt("'" + m.kind + "' is no event of an agent");
}

AgentMessage message_of(const Status& failed) {
  return {kFailed, {{"code", std::to_string(static_cast<int>(failed.code()))}, {"message", failed.message()}}};
}

Status status_of(const AgentMessage& m) {
  const std::int64_t code = m.number("code");
  const bool known = code > 0 && code <= static_cast<int>(Code::internal);
  return {known ? static_cast<Code>(code) : Code::internal, m.text("message")};
}

}  // namespace cohaul::job
