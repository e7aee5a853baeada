#pragma once
// Members of a job: the role, rank and place of each process.

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/base/ids.h"
#include "cohaul/transport/channel.h"

namespace cohaul::job {

struct MemberKey {
  transport::Role role = transport::Role::worker;
  int rank = 0;
  auto operator<=>(const MemberKey&) const = default;
};
/// Returns "worker 3", "server 0", "the launcher".
std::string describe(MemberKey who);
/// Returns "2.0 s".
std::string seconds_text(Duration d);

struct Member {
  transport::Role role = transport::Role::worker;
  int rank = 0;
  std::int64_t pid = 0;
  std::string process;          // process_key() of it
  std::string host;             // name, for people
  std::string host_id;          // equal = one host, on which they can hand memory to each other
  std::string cpus;             // on which it may run: "0-3,8"; empty: not known
  int quota = 0;                // cores that its control group may use; 0: all
  int wants_threads = 0;        // OMP_NUM_THREADS; 0: not set
  std::string instruction_set;  // of the library that computes its gradients, such as "AVX2"; empty: not known
  std::string log;              // path of its log, empty: none
  Incarnation incarnation;
  MemberKey key() const { return {role, rank}; }
};

/// Returns, by worker, the first worker of its host.
std::vector<int> hosts_of_workers(const std::vector<Member>& members);

/// Returns a sentence that names two workers of different instruction sets, whose gradients may differ in the last bits. Empty: there are none.
std::string different_instruction_sets(const std::vector<Member>& members);

}  // namespace cohaul::job
