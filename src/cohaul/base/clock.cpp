#include "cohaul/base/clock.h"

#include <ctime>

namespace cohaul {
namespace {
class SteadyClock final : public Clock {
 public:
  Time now() const override {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * kSecond + t.tv_nsec;
  }
};
}  // namespace

const Clock& steady_clock() {
  static const SteadyClock clock;
  return clock;
}

}  // namespace cohaul
