#pragma once
// The crew of several hosts: an agent on each, which this process starts over ssh and talks with.

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cohaul/job/crew.h"
#include "cohaul/job/crew_plan.h"
#include "cohaul/job/hosts/home.h"
#include "cohaul/job/hosts/host_list.h"

namespace cohaul::job {

struct RemoteOptions {
  std::vector<HostSlots> hosts;
  std::vector<std::string> ssh{"ssh"};  // program and options; the host's name follows
  std::string cohaul;                   // path of the program on the hosts; it is started as an agent
  std::vector<std::string> check;       // command that checks on each host whether the job could run there; empty: none
  std::vector<HomeFile> files;          // where the plan's outputs go here
  int first_stdout = 1, first_stderr = 2;
  std::function<void(MemberKey who, std::int64_t pid, const std::string& host, const std::string& log)> on_started;
};

/// Makes the crew. plan: of the whole job; its members are dealt to the hosts. The rendezvous is on the first. Every
/// process gets a certificate of an authority that lives in this process alone. Errors of start(): invalid (a host
/// that cannot be reached, has another version or not the program, or where the check fails; names it).
std::unique_ptr<Crew> make_remote_crew(CrewPlan plan, RemoteOptions options);

}  // namespace cohaul::job
