#include "cohaul/base/wall_clock.h"

#include <ctime>

namespace cohaul {
namespace {
class SystemClock final : public Clock {
 public:
  explicit SystemClock(clockid_t id) : id_(id) {}
  Time now() const override {
    timespec t{};
    clock_gettime(id_, &t);
    return t.tv_sec * kSecond + t.tv_nsec;
  }

 private:
  clockid_t id_;
};
}  // namespace

const Clock& steady_clock() {
  static const SystemClock clock(CLOCK_MONOTONIC);
  return clock;
}

const Clock& wall_clock() {
  static const SystemClock clock(CLOCK_REALTIME);
  return clock;
}

}  // namespace cohaul
