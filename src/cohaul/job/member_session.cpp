#include "cohaul/job/member_session.h"

#include <algorithm>

namespace cohaul::job {
namespace {

constexpr Duration kFirstHeartbeats =
    50 * kMillisecond;  // between the first two; then three times as long as all before

std::string worker_text(int worker) { return describe(MemberKey{transport::Role::worker, worker}); }

std::string left_text(int worker) { return worker_text(worker) + " has left the job"; }

/// Returns the number that a heartbeat carries. 0: it waits.
std::uint64_t busy_ms(Time since, Time now) {
  if (since == MemberSession::kWaits) return 0;
  return static_cast<std::uint64_t>(std::max<Duration>(now - since, kMillisecond) / kMillisecond);
}

}  // namespace

Duration MemberSession::heartbeat_interval(Duration peer_timeout) {
  return std::clamp(peer_timeout / 20, 20 * kMillisecond, 500 * kMillisecond);
}

std::int64_t MemberSession::call(ControlMessage message, Time now) {
  const std::int64_t request = ++last_request_;
  message.request = request;
  calls_[request] = {message.key, now + message.timeout_ms * kMillisecond + kAnswerGrace, {}};
  if (!loss_) send(std::move(message));
  return request;
}

std::optional<Result<std::string>> MemberSession::take_answer(std::int64_t request, Time now) {
  Call& call = calls_.at(request);
  if (!call.reply && !loss_ && now < call.deadline) return std::nullopt;
  const Call done = std::move(calls_.extract(request).mapped());
  if (done.reply) {
    Status status = status_of(*done.reply);
    return status.ok() ? Result<std::string>(done.reply->value) : status;
  }
  if (loss_) return loss_->status();
  return peer_lost(describe(options_.host) + " has not answered in time" +
                   (done.key.empty() ? "" : ", asked for '" + done.key + "'"));
}

void MemberSession::post(ControlMessage message) {
  message.request = ++last_request_;
  send(std::move(message));
}

void MemberSession::send(ControlMessage message) {
  if (connected_) outgoing_.push_back(std::move(message));
}

void MemberSession::received(ControlMessage message, Time now) {
  heard_ = now;
  if (message.kind == ControlKind::lost) {
    auto loss = decode_loss(message.value);
    return loss.ok() ? lose(std::move(*loss), now) : lose_host(loss.status().message(), now);
  }
  if (message.kind == ControlKind::waits) {
    auto absence = decode_absence(message.value);
    if (!absence.ok()) return;
    waits_[{absence->meeting.group, absence->worker}] = absence->meeting;
    alarm_ = true;
  } else if (message.kind == ControlKind::left) {
    auto ranks = decode_ranks(message.value);
    if (!ranks.ok()) return;
    left_.insert(ranks->begin(), ranks->end());
    alarm_ = true;
  } else if (message.kind == ControlKind::reply) {
    auto call = calls_.find(message.request);  // none: no call waits for it, or no longer
    if (call != calls_.end()) call->second.reply = std::move(message);
  }
}

void MemberSession::disconnected(std::string how, Time now) {
  connected_ = false;
  outgoing_.clear();
  lose_host(std::move(how), now);
}

void MemberSession::lose(Loss loss, Time now) {
  if (loss_) return;
  loss_ = std::move(loss);
  ends_at_ = now + kEndGrace;
  alarm_ = true;
}

void MemberSession::advance(Time busy_since, const std::string& operation, Time now) {
  if (!connected_) return;
  if (now - heard_ >= options_.peer_timeout) {
    return disconnected("no answer to heartbeats for " + seconds_text(now - heard_), now);
  }
  if (now < next_heartbeat_) return;
  ControlMessage m;
  m.kind = ControlKind::heartbeat;
  m.number = busy_ms(busy_since, now);
  m.value = operation;
  send(std::move(m));
  // More heartbeats come at first, so that the last operation is known of a short run, too.
  next_heartbeat_ = now + std::clamp(3 * (now - began_), std::min(kFirstHeartbeats, interval_), interval_);
}

Time MemberSession::next_time() const {
  return connected_ ? std::min(next_heartbeat_, heard_ + options_.peer_timeout) : kForever;
}

void MemberSession::met(const Meeting& meeting) {
  std::erase_if(waits_, [&](const auto& entry) {
    return entry.first.first == meeting.group && entry.second.number <= meeting.number;
  });
}

Status MemberSession::absent(const std::string& group, std::int64_t meetings, std::int64_t step) const {
  const std::string here =
      ", while this worker is in step " + std::to_string(step + 1) + ": all workers must make the same calls";
  for (int worker : left_) return invalid(left_text(worker) + here);
  for (const auto& [key, meeting] : waits_) {
    if (key.first != group || meeting.number < meetings || meeting.progress > step) continue;
    return invalid(worker_text(key.second) + " is in " + describe(meeting) + here);
  }
  return {};
}

Status MemberSession::left(int worker) const { return left_.contains(worker) ? invalid(left_text(worker)) : Status{}; }

}  // namespace cohaul::job
