#pragma once
// How a process ends.

#include "cohaul/base/status.h"

namespace cohaul {

constexpr int kDone = 0;
constexpr int kFailed = 1;
constexpr int kUsersMistake = 2;
constexpr int kLost = 3;  // a process, or a deadline passed

/// What a process ends with after such a failure of its own.
constexpr int exit_code(Code code) {
  switch (code) {
    case Code::ok: return kDone;
    case Code::invalid:
    case Code::unsupported: return kUsersMistake;
    case Code::peer_lost:
    case Code::unavailable: return kLost;
    default: return kFailed;
  }
}

}  // namespace cohaul
