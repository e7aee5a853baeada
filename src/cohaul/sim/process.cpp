#include "cohaul/sim/process.h"

#include <algorithm>
#include <utility>

namespace cohaul::sim {
namespace {

constexpr Duration kToldWithin = 500 * kMillisecond;  // how long it tries to report why it fails

job::ControlMessage message_of(job::ControlKind kind) {
  job::ControlMessage out;
  out.kind = kind;
  return out;
}

}  // namespace

job::Member Process::as_member() const {
  job::Member out;
  out.role = who_.role;
  out.rank = who_.rank;
  out.incarnation = Incarnation(1);
  return out;
}

void Process::turn(Time now) {
  if (state_ != State::running || now < stopped_until_) return;
  heart_.receive(now);
  heart_.speak(now);
  go_on(now);
  if (state_ == State::running) heart_.speak(now);
}

void Process::go_on(Time now) {
  if (stage_ == Stage::starting)
    ask(job::make_join(as_member(), scenario_.workers), kJoinTimeout + kSecond, Stage::joining, now);
  if (request_ != 0) {
    const auto answer = heart_.session().take_answer(request_, now);
    if (!answer) return;
    request_ = 0;
    answered(*answer);
  }
  if (state_ != State::running) return;
  if (const job::Loss* loss = end_of_job(); loss != nullptr) {
    if (is_computing(now) && now < heart_.session().ends_at()) return;
    failure_ = loss->status();
    return end(State::failed);
  }
  if (!is_finished()) work(now);
  if (!failure_.ok()) {
    job::ControlMessage failed = job::make_reply(0, failure_);
    failed.kind = job::ControlKind::failed;
    ask(std::move(failed), kToldWithin, Stage::failing, now);
  } else if (is_finished()) {
    ask(message_of(job::ControlKind::leave), scenario_.peer_timeout, Stage::leaving, now);
  }
}

void Process::answered(const Result<std::string>& answer) {
  if (stage_ == Stage::failing) return end(State::failed);
  const bool nobody_to_tell = stage_ == Stage::leaving && heart_.loss() && end_of_job() == nullptr;
  if (!answer.ok() && !nobody_to_tell) {
    failure_ = answer.status();
    return end(State::failed);
  }
  if (stage_ == Stage::leaving) return end(State::done);
  stage_ = Stage::working;
  const auto welcome = job::decode_welcome(*answer);
  if (welcome.ok() && knows(welcome->members)) return;
  failure_ = corrupt("it is let in with another list of members than of all of its host");
  end(State::failed);
}

/// The list has all processes of the job, because all are on one host unless a subclass overrides this.
bool Process::knows(const std::vector<job::Member>& members) const {
  return static_cast<int>(members.size()) == scenario_.workers + scenario_.servers;
}

const job::Loss* Process::end_of_job() const {
  const auto& loss = heart_.loss();
  if (!loss) return nullptr;
  const bool spares = scenario_.goes_on && loss->who != who_ && loss->who.role == transport::Role::worker;
  return spares ? nullptr : &*loss;
}

void Process::ask(job::ControlMessage message, Duration timeout, Stage stage, Time now) {
  stage_ = stage;
  message.timeout_ms = timeout / kMillisecond;
  request_ = heart_.session().call(std::move(message), now);
}

Time Process::next_time() const {
  if (state_ != State::running) return kForever;
  Time next = heart_.next_time();
  if (request_ != 0) next = std::min(next, heart_.session().deadline_of(request_));
  if (stage_ == Stage::working) next = std::min(next, next_work());
  if (end_of_job() != nullptr) next = std::min(next, heart_.session().ends_at());
  return std::max(stopped_until_, next);
}

transport::Channel* Process::road(std::int32_t peer) {
  return peer == Fault::kLauncher ? heart_.channel() : links()[peer]->get();
}

std::vector<transport::Channel*> Process::roads() {
  std::vector<transport::Channel*> open;
  if (heart_.channel()) open.push_back(heart_.channel());
  for (auto* link : links()) {
    if (*link) open.push_back(link->get());
  }
  return open;
}

void Process::end(State how) {
  state_ = how;
  heart_.close();
  for (auto* link : links()) link->reset();
}

}  // namespace cohaul::sim
