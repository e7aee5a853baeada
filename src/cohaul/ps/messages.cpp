#include "cohaul/ps/messages.h"

namespace cohaul::ps {
namespace {

void put(Writer& out, const update::SliceRange& s) { out.put(s.first).put(s.last).put(s.count); }

update::SliceRange get_slices(Reader& in) {
  update::SliceRange s;
  s.first = in.get<std::int32_t>();
  s.last = in.get<std::int32_t>();
  s.count = in.get<std::int32_t>();
  return s;
}

bool sound(const update::SliceRange& s) {
  return s.first >= 0 && s.first < s.last && s.last <= s.count && s.count <= kSlicesMax;
}

}  // namespace

void Init::encode(Writer& out) const {
  consistency.encode(out);
  rule.encode(out);
  out.put(workers).put(servers).put(slices).put(layout_hash);
}

Result<Init> Init::decode(ConstBytes body) {
  Reader in(body);
  Init m;
  COHAUL_ASSIGN(m.consistency, Consistency::decode(in));
  COHAUL_ASSIGN(m.rule, update::RuleSettings::decode(in));
  m.workers = in.get<std::int32_t>();
  m.servers = in.get<std::int32_t>();
  m.slices = in.get<std::int32_t>();
  m.layout_hash = in.get<std::uint64_t>();
  bool sound = m.workers >= 1 && m.workers <= kWorkersMax && m.servers >= 1 && m.servers <= kWorkersMax &&
               m.slices >= 1 && m.slices <= kSlicesMax;
  if (!in.done() || !sound) return corrupt("an unreadable init message");
  COHAUL_TRY(m.rule.check());
  return m;
}

void Push::encode(Writer& out) const {
  out.put(step.value);
  put(out, slices);
  out.put(settings.lr).raw(absent);
}

Result<Push> Push::decode(ConstBytes body) {
  Reader in(body);
  Push m;
  m.step = Step(in.get<std::int64_t>());
  m.slices = get_slices(in);
  m.settings.lr = in.get<double>();
  m.absent = in.raw(in.left());
  if (!in.ok() || m.step.value < 0 || !sound(m.slices)) return corrupt("an unreadable push");
  return m;
}

void Ack::encode(Writer& out) const { out.put(staleness).put(version.value); }

Result<Ack> Ack::decode(ConstBytes body) {
  Reader in(body);
  Ack m;
  m.staleness = in.get<std::int64_t>();
  m.version = Version(in.get<std::int64_t>());
  if (!in.done() || m.staleness < 0 || m.version.value < 0) return corrupt("an unreadable acknowledgement");
  return m;
}

void Ready::encode(Writer& out) const { out.put(loop.first).put(loop.end).put(loop.report_every); }

Result<Ready> Ready::decode(ConstBytes body) {
  Reader in(body);
  Ready m;
  m.loop.first = in.get<std::int64_t>();
  m.loop.end = in.get<std::int64_t>();
  m.loop.report_every = in.get<std::int64_t>();
  if (!in.done() || m.loop.first < 0 || m.loop.end < 0 || m.loop.report_every < 0)
    return corrupt("an unreadable question for a step");
  return m;
}

void UpdateReport::encode(Writer& out) const {
  out.put(loss).put(pushes).put(staleness_sum).put(staleness_max).put(gap_max).put(elapsed);
}

Result<UpdateReport> UpdateReport::decode(ConstBytes body) {
  Reader in(body);
  UpdateReport m;
  m.loss = in.get<double>();
  for (std::int64_t* v : {&m.pushes, &m.staleness_sum, &m.staleness_max, &m.gap_max, &m.elapsed}) {
    *v = in.get<std::int64_t>();
    if (*v < 0) return corrupt("an update's counts below zero");
  }
  if (!in.done()) return corrupt("an unreadable report of an update");
  return m;
}

void StepDone::encode(Writer& out) const {
  out.put(loss);
  put(out, slices);
  out.put(staleness);
}

Result<StepDone> StepDone::decode(ConstBytes body) {
  Reader in(body);
  StepDone m;
  m.loss = in.get<double>();
  m.slices = get_slices(in);
  m.staleness = in.get<std::int64_t>();
  if (!in.done() || !sound(m.slices) || m.staleness < 0) return corrupt("an unreadable end of a step");
  return m;
}

void Stats::encode(Writer& out) const {
  out.put(pushes).put(repeats).put(staleness_sum).put(staleness_max).put(gap_max);
}

Result<Stats> Stats::decode(Reader& in) {
  Stats m;
  for (std::int64_t* v : {&m.pushes, &m.repeats, &m.staleness_sum, &m.staleness_max, &m.gap_max}) {
    *v = in.get<std::int64_t>();
    if (*v < 0) return corrupt("statistics below zero");
  }
  if (!in.ok()) return corrupt("unreadable statistics");
  return m;
}

void Refusal::encode(Writer& out) const { out.put(code).text(why); }

Result<Refusal> Refusal::decode(ConstBytes body) {
  Reader in(body);
  Refusal m;
  auto code = in.get<std::uint8_t>();
  m.why = in.text();
  if (!in.done() || code == 0 || code > static_cast<std::uint8_t>(Code::internal)) {
    return corrupt("an unreadable refusal");
  }
  m.code = static_cast<Code>(code);
  return m;
}

}  // namespace cohaul::ps
