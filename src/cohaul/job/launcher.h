#pragma once
// The launcher: starts the processes of a job, has a rendezvous hosted for them, finds and names the first failure,
// and leaves no process behind. It knows nothing of what they compute.

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/job/certificates.h"
#include "cohaul/job/hosts/home.h"
#include "cohaul/job/hosts/host_list.h"
#include "cohaul/job/membership.h"
#include "cohaul/transport/endpoint.h"

namespace cohaul::job {

/// A process that was started.
struct LaunchedProcess {
  transport::Role role = transport::Role::worker;
  int rank = 0;
  std::int64_t pid = 0;
  std::string host;  // this machine's name
  std::string log;   // path of its log
};

struct LaunchOptions {
  std::vector<std::string> worker_command;  // program and arguments; looked up in PATH
  std::vector<std::string> server_command;  // needed where servers > 0
  int workers = 1, servers = 0;
  bool pin = false;  // job.pin
  int threads = 0;   // job.threads; 0: not set
  /// job.address: where to listen: an address, a name, an interface or * of this host, with or without :port.
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;        // job.port: of the rendezvous; 0: that of `address`, else any
  transport::PortRange ports{};  // job.ports: of all other listeners
  transport::Form transport = transport::Form::auto_;
  std::string secret_file;          // job.secret
  CertificateFiles certificates{};  // job.tls_cert, job.tls_key, job.tls_ca
  bool plaintext = false;           // job.plaintext
  double peer_timeout_s = 10, step_timeout_s = 600, join_timeout_s = 60;
  /// How long after a SIGTERM or SIGINT workers may take to write a checkpoint and end, where worker 0 handles the signal.
  double stop_grace_s = 25;
  /// false: the programs need not be Cohaul's. The time to join then runs from the first process that joins.
  bool must_join = true;
  /// --hosts: empty: all run on this host. Else see RemoteOptions.
  std::vector<HostSlots> hosts;
  std::vector<std::string> ssh{"ssh"};
  std::string cohaul;              // path of the program on the hosts
  std::vector<std::string> check;  // checks whether a host can run the job
  /// As CrewPlan has them, with where they go here.
  std::map<std::string, std::string> texts;
  std::vector<HomeFile> files;
  std::string logs;  // job.logs, made if missing; empty: a temporary folder, kept only after a failure
  std::vector<std::pair<std::string, std::string>> environment;  // in addition
  /// The first worker's stdout and stderr go here (stderr into its log, too, unless this is a terminal); all else goes into logs.
  int first_stdout = 1, first_stderr = 2;
  std::function<void(const LaunchedProcess&)> on_started;
  std::function<void(const std::string&)> warn;  // a line for the user
};

struct LaunchOutcome {
  int exit_code = 0;     // 0, 1, 2, 3; 128 + signal after Ctrl-C or SIGTERM
  bool stopped = false;  // by a signal, after a checkpoint: see the message
  std::string
      message{};  // for the user: which process failed first, how, where its log is and its last lines; empty when 0
  transport::Role role = transport::Role::launcher;  // of the process that failed first
  int rank = 0;
  std::string operation{};  // its last one
  std::string log{};        // path of its log; empty: none
};

/// Returns what the options say to every process of the job, as variables of its environment.
std::vector<std::pair<std::string, std::string>> settings_of(const LaunchOptions& options);

/// Runs the job. Blocks until all processes have ended; ends them within 5 s after the first failure. The first
/// SIGINT or SIGTERM is passed on to worker 0 if it handles it, as a loop with checkpoints does; the workers then
/// have stop_grace_s to end by themselves. Otherwise, and after a second signal, all end within 5 s. SIGUSR1 is
/// passed on to worker 0 if it handles it, and otherwise gives a warning. It takes these signals and SIGCHLD while it
/// runs: call it from a program with one thread, at most once at a time. Errors: invalid (a port taken or a bad
/// address, naming job.address; a program that isn't there; a folder of logs that cannot be made), internal.
Result<LaunchOutcome> launch(const LaunchOptions& options);

}  // namespace cohaul::job
