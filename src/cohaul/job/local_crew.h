#pragma once
// The crew of this host: processes by exec, each with a log, and the job's rendezvous where the plan says so.

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cohaul/base/temporary_folder.h"
#include "cohaul/job/cpu_claims.h"
#include "cohaul/job/crew.h"
#include "cohaul/job/crew_plan.h"
#include "cohaul/job/launch_log.h"
#include "cohaul/job/memory_file.h"
#include "cohaul/job/memory_limit.h"
#include "cohaul/job/rendezvous_host.h"

namespace cohaul::job {

class Mailbox;

class LocalCrew final : public Crew {
 public:
  using OnStarted = std::function<void(MemberKey who, std::int64_t pid, const std::string& log)>;
  /// The first worker's stdout and stderr go to the descriptors.
  LocalCrew(CrewPlan plan, int first_stdout, int first_stderr, OnStarted on_started);
  ~LocalCrew() override;

  Status start(const Interrupt& interrupt) override;
  // The same in three parts, for a crew of several hosts:
  /// Makes the files in memory and the folders.
  Status prepare();
  /// Starts the rendezvous. Returns its address, as COHAUL_ADDRESS has it.
  Result<std::string> listen();
  Status start_members(const std::string& address);

  void watch(std::vector<pollfd>& descriptors) const override;
  std::vector<CrewEvent> take_events() override;
  void terminate(MemberKey who) override;
  void kill(MemberKey who) override;
  void kill_if_stopped(MemberKey who) override;
  void ask(int signal) override;
  std::string log_of(MemberKey who) const override;
  void remove_logs() override { logs_.remove_temporary(); }

  /// Tells that a process of another host has ended.
  void exited_elsewhere(MemberKey who, const ProcessExit& how);
  /// Returns the folder of the plan's outputs; empty: it has none.
  const std::string& outputs() const { return outputs_.path(); }
  /// Returns the text with the plan's placeholders replaced.
  std::string expand(std::string text) const;

 private:
  struct Child {
    MemberKey who;
    pid_t pid = 0;
    std::string log;
    std::optional<ProcessExit> exit;
  };
  Status start_all();
  void claim();
  Status start_one(MemberKey who, const std::string& address);
  std::vector<std::pair<std::string, std::string>> environment_of(MemberKey who, const std::string& address,
                                                                  const std::string& log) const;
  Child* running(MemberKey who);
  bool pass_on(int signal);
  static void end_now(Child& child);

  const CrewPlan plan_;
  const OnStarted on_started_;
  const int first_stdout_, first_stderr_;
  std::map<std::string, MemoryFile> texts_;
  TemporaryFolder outputs_;
  std::vector<std::string> listen_;
  std::optional<CpuClaims> claims_;
  std::map<MemberKey, std::vector<int>> cpus_;  // on which alone a member may run; others: on all
  LaunchLog logs_;
  std::unique_ptr<Mailbox> mailbox_;  // before the rendezvous, whose thread fills it
  std::unique_ptr<RendezvousHost> rendezvous_;
  MemoryLimit memory_;
  std::vector<Child> children_;
  std::vector<CrewEvent> events_;
};

}  // namespace cohaul::job
