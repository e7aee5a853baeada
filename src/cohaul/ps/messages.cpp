#include "cohaul/ps/messages.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "cohaul/ps/subtrees.h"

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

constexpr std::string_view kPurpose = "ps ";

/// Returns whether it is a valid number of samples; 0: the gradient has been averaged already.
bool is_count(double samples) { return std::isfinite(samples) && samples >= 0; }

/// Returns a view of the text; Reader::text() would copy it.
std::string_view get_view(Reader& in) {
  ConstBytes text = in.raw(in.get<std::uint32_t>());
  return {reinterpret_cast<const char*>(text.data()), text.size()};
}

bool sound(const update::SliceRange& s) {
  return s.first >= 0 && s.first < s.last && s.last <= s.count && s.count <= update::kSlicesMax;
}

}  // namespace

std::string purpose_of(int trainer) { return std::string(kPurpose) + std::to_string(trainer); }

std::optional<int> trainer_of(std::string_view purpose) {
  if (!purpose.starts_with(kPurpose)) return std::nullopt;
  purpose.remove_prefix(kPurpose.size());
  int trainer = -1;
  auto [end, error] = std::from_chars(purpose.data(), purpose.data() + purpose.size(), trainer);
  if (error != std::errc() || end != purpose.data() + purpose.size() || trainer < 0) return std::nullopt;
  return trainer;
}

void Init::encode(Writer& out) const {
  consistency.encode(out);
  optimizer.encode(out);
  policy.encode(out);
  out.put(workers).put(servers).put(slices).put(layout_hash);
}

Result<Init> Init::decode(ConstBytes body) {
  Reader in(body);
  Init m;
  COHAUL_ASSIGN(m.consistency, Consistency::decode(in));
  COHAUL_ASSIGN(m.optimizer, update::OptimizerSettings::decode(in));
  COHAUL_ASSIGN(m.policy, update::GradientPolicy::decode(in));
  m.workers = in.get<std::int32_t>();
  m.servers = in.get<std::int32_t>();
  m.slices = in.get<std::int32_t>();
  m.layout_hash = in.get<std::uint64_t>();
  bool sound = m.workers >= 1 && m.workers <= kWorkersMax && m.servers >= 1 && m.servers <= kWorkersMax &&
               m.slices >= 1 && m.slices <= update::kSlicesMax;
  if (!in.done() || !sound) return corrupt("an unreadable init message");
  return m;
}

void Push::encode(Writer& out) const {
  out.put(step.value);
  put(out, slices);
  out.put(samples).put(factor).put(static_cast<std::uint8_t>(is_sum)).put(bad_parameter).put(bad_worker).raw(absent);
}

Result<Push> Push::decode(ConstBytes body) {
  Reader in(body);
  Push m;
  m.step = Step(in.get<std::int64_t>());
  m.slices = get_slices(in);
  m.samples = in.get<double>();
  m.factor = in.get<double>();
  const auto sum = in.get<std::uint8_t>();
  m.is_sum = sum == 1;
  m.bad_parameter = in.get<std::int32_t>();
  m.bad_worker = in.get<std::int32_t>();
  m.absent = in.raw(in.left());
  const bool names_one = m.bad_parameter >= 0 && m.bad_worker >= 0,
             names_none = m.bad_parameter == -1 && m.bad_worker == -1;
  if (!in.ok() || m.step.value < 0 || !sound(m.slices) || !is_count(m.samples) || sum > 1 ||
      !(names_none || (names_one && m.is_sum)))
    return corrupt("an unreadable push");
  return m;
}

void Ack::encode(Writer& out) const { out.put(staleness).put(version.value).put(first); }

Result<Ack> Ack::decode(ConstBytes body) {
  Reader in(body);
  Ack m;
  m.staleness = in.get<std::int64_t>();
  m.version = Version(in.get<std::int64_t>());
  m.first = in.get<std::int32_t>();
  if (!in.done() || m.staleness < 0 || m.version.value < 0 || m.first < 0)
    return corrupt("an unreadable acknowledgement");
  return m;
}

void Measured::encode(Writer& out) const {
  facts.encode(out);
  out.put(samples);
}

Result<Measured> Measured::decode(ConstBytes body) {
  Reader in(body);
  Measured m;
  COHAUL_ASSIGN(m.facts, update::GradientFacts::decode(in));
  m.samples = in.get<double>();
  if (!in.done() || !is_count(m.samples)) return corrupt("unreadable facts of a step");
  return m;
}

void Rates::encode(Writer& out) const {
  out.put(static_cast<std::uint32_t>(rates.size()));
  for (const double rate : rates) out.put(rate);
}

Result<Rates> Rates::decode(ConstBytes body) {
  Reader in(body);
  Rates m;
  const auto count = in.get<std::uint32_t>();
  if (!in.ok() || count != in.left() / sizeof(double)) return corrupt("unreadable learning rates");
  for (std::uint32_t g = 0; g < count; ++g) m.rates.push_back(in.get<double>());
  bool sound = in.done();
  for (const double rate : m.rates) sound = sound && update::check_lr(rate).ok();
  return sound ? Result<Rates>(std::move(m)) : corrupt("unreadable learning rates");
}

void Restore::encode(Writer& out) const { out.text(checkpoint).put(updates); }

Result<Restore> Restore::decode(ConstBytes body) {
  Reader in(body);
  Restore m;
  m.checkpoint = in.text();
  m.updates = in.get<std::int64_t>();
  if (!in.done() || m.updates < 0) return corrupt("an unreadable question for a checkpoint");
  return m;
}

void Save::encode(Writer& out) const { out.text(folder).text(key).text(mark); }

Result<Save> Save::decode(ConstBytes body) {
  Reader in(body);
  Save m;
  m.folder = in.text();
  m.key = in.text();
  m.mark = in.text();
  if (!in.done()) return corrupt("an unreadable question for a checkpoint");
  return m;
}

void Ready::encode(Writer& out) const { out.put(loop).put(steps).put(report_every).text(facts); }

Result<Ready> Ready::decode(ConstBytes body) {
  Reader in(body);
  Ready m;
  m.loop = in.get<std::int64_t>();
  m.steps = in.get<std::int64_t>();
  m.report_every = in.get<std::int64_t>();
  m.facts = get_view(in);
  const bool sound = m.loop >= 0 && m.steps >= 0 && m.steps <= kStepsMax && m.report_every >= 0;
  if (!in.done() || !sound || m.facts.size() > kFactsBytesMax) return corrupt("an unreadable question for a step");
  return m;
}

void LeaveLoop::encode(Writer& out) const { out.put(loop).put(static_cast<std::uint8_t>(stop)); }

Result<LeaveLoop> LeaveLoop::decode(ConstBytes body) {
  Reader in(body);
  LeaveLoop m;
  m.loop = in.get<std::int64_t>();
  m.stop = in.get<std::uint8_t>() != 0;
  if (!in.done() || m.loop < 0) return corrupt("an unreadable goodbye to a loop");
  return m;
}

void LoopState::encode(Writer& out) const { out.put(loop).put(first).put(end).put(updates_done); }

Result<LoopState> LoopState::decode(ConstBytes body) {
  Reader in(body);
  LoopState m;
  m.loop = in.get<std::int64_t>();
  m.first = in.get<std::int64_t>();
  m.end = in.get<std::int64_t>();
  m.updates_done = in.get<std::int64_t>();
  if (!in.done() || m.loop < -1 || m.first < 0 || m.end < m.first || m.updates_done < 0)
    return corrupt("an unreadable state of a loop");
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

void StepReport::encode(Writer& out) const { out.put(loss).put(static_cast<std::uint8_t>(counted_alike)).put(request); }

Result<StepReport> StepReport::decode(ConstBytes body) {
  Reader in(body);
  StepReport m;
  m.loss = in.get<double>();
  m.counted_alike = in.get<std::uint8_t>() != 0;
  m.request = in.get<std::uint8_t>();
  if (!in.done()) return corrupt("an unreadable report of a step");
  return m;
}

void StepDone::set(std::span<const update::PartEnd> of_parts) {
  parts = std::min(of_parts.size(), ends.size());
  std::copy_n(of_parts.begin(), parts, ends.begin());
}

void StepDone::encode(Writer& out) const {
  put(out, slices);
  out.put(staleness).put(static_cast<std::uint8_t>(skipped)).text(facts);
  for (const update::PartEnd& end : part_ends()) out.put(end.loss).put(end.samples).put(end.counters).put(end.request);
}

Result<StepDone> StepDone::decode(ConstBytes body) {
  Reader in(body);
  StepDone m;
  m.slices = get_slices(in);
  m.staleness = in.get<std::int64_t>();
  m.skipped = in.get<std::uint8_t>() != 0;
  m.facts = get_view(in);
  if (!in.ok() || !sound(m.slices) || m.staleness < 0 || m.facts.size() > kFactsBytesMax)
    return corrupt("an unreadable end of a step");
  m.parts = count_subtrees(m.slices);
  bool counts = m.parts <= m.ends.size();
  for (std::size_t k = 0; counts && k < m.parts; ++k) {
    m.ends[k].loss = in.get<double>();
    m.ends[k].samples = in.get<double>();
    m.ends[k].counters = in.get<std::uint64_t>();
    m.ends[k].request = in.get<std::uint8_t>();
    counts = is_count(m.ends[k].samples);
  }
  if (!in.done() || !counts) return corrupt("an unreadable end of a step's parts");
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

void Refusal::encode(Writer& out) const { out.put(code).text(std::string_view(why).substr(0, kRefusalBytesMax)); }

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
