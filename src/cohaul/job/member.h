#pragma once
// Members of a job: which process is who, where.

#include <compare>
#include <cstdint>
#include <string>

#include "cohaul/base/clock.h"
#include "cohaul/base/ids.h"
#include "cohaul/transport/channel.h"

namespace cohaul::job {

struct MemberKey {
  transport::Role role = transport::Role::worker;
  int rank = 0;
  auto operator<=>(const MemberKey&) const = default;
};
/// "worker 3", "server 0", "the launcher"
std::string describe(MemberKey who);
/// "2.0 s"
std::string seconds_text(Duration d);

struct Member {
  transport::Role role = transport::Role::worker;
  int rank = 0;
  std::int64_t pid = 0;
  std::string host;     // name, for people
  std::string host_id;  // equal = same host
  std::string log;      // path of its log, empty: none
  Incarnation incarnation;
  MemberKey key() const { return {role, rank}; }
};

}  // namespace cohaul::job
