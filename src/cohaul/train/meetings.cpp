#include "cohaul/train/meetings.h"

namespace cohaul::train {

job::Meeting Meetings::next(const std::string& purpose, std::int64_t done, const std::string& facts) {
  job::Meeting meeting;
  meeting.group = group_;
  meeting.number = held_++;
  meeting.purpose = purpose;
  meeting.progress = done;
  meeting.facts = facts;
  return meeting;
}

Status Meetings::meet(const std::string& purpose, std::int64_t done, const std::string& facts) {
  if (job_.world() == 1) return {};
  return job_.meet(next(purpose, done, facts), steady_clock().now() + seconds(job_.options().step_timeout_s));
}

void Meetings::part(std::int64_t done) {
  if (job_.world() > 1) job_.attend(next("close()", done, {}));
}

Status Meetings::health() const {
  Status health = job_.health();
  if (!health.ok() || step_ == kNone) return health;
  Status absent = job_.absent(group_, held_, step_);
  if (absent.ok()) return absent;
  const Time now = steady_clock().now();
  if (missed_since_ == kForever) missed_since_ = now;
  return now - missed_since_ < kGrace ? Status() : absent;
}

}  // namespace cohaul::train
