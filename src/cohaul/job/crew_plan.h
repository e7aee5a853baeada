#pragma once
// The plan of what one host's crew runs.

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "cohaul/job/member.h"
#include "cohaul/transport/credentials.h"
#include "cohaul/transport/endpoint.h"

namespace cohaul::job {

struct CrewPlan {
  std::vector<MemberKey> members;  // to start here, in this order
  int workers = 1, servers = 0;    // of the whole job
  /// In commands and environment, "{text:NAME}" stands for the path of a file in memory with that text, and
  /// "{output:NAME}" for the path of a file that the program may make.
  std::vector<std::string> worker_command{}, server_command{};
  std::vector<std::pair<std::string, std::string>> environment{};  // of every process
  std::map<std::string, std::string> texts{};
  std::vector<std::string> outputs{};  // names

  bool pin = false;  // workers are bound to CPUs of their own where they fit: claim_cpus()
  int threads = 0;   // of each worker; 0: the processes decide

  std::string address = "127.0.0.1";  // as job.address
  std::uint16_t port = 0;
  transport::PortRange ports{};
  std::uint64_t token = 0;  // the job's
  double peer_timeout_s = 10, join_timeout_s = 60;
  bool must_join = true;

  /// By member; that of the rendezvous as Role::launcher. Empty: plain text, on one host.
  std::map<MemberKey, transport::Certificate> certificates{};
  std::string logs{};  // folder; empty: a temporary one
  /// Paths by which messages name the logs, where those are on another host. None: the paths where they are written.
  std::map<MemberKey, std::string> shown_logs{};
};

}  // namespace cohaul::job
