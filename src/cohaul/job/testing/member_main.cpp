// A member of a job for tests. Behaviour: member [who=WHAT]... where who is w0, s1, or all. WHAT:
//   run       join, talk through store and barrier, share memory, say goodbye (also what it does if nothing is said)
//   slow      run, computing 3 s in one step
//   linger    run, then sleep after the goodbye
//   kill      kill itself after joining;  stop: SIGSTOP after joining;  exit5: exit(5) after joining;  exit0: the same with 0
//   fail      report a failure of the user's and exit 2
//   absent    never join; sleep.   plain: never join; exit 0
//   wait      join, then wait in a barrier that no other member comes to
//   stuck     join, then compute for ever without looking
// `member launch WORKERS SERVERS PEER_TIMEOUT JOIN_TIMEOUT ADDRESS must|may LOGS -- command…` runs the launcher.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "cohaul/base/exit_code.h"
#include "cohaul/base/last_operations.h"
#include "cohaul/job/connect.h"
#include "cohaul/job/launcher.h"

namespace {

using namespace cohaul;
using transport::Role;

int fail(const Status& status) {
  std::fprintf(stderr, "%s\n", status.message().c_str());
  return exit_code(status.code());
}

std::string behaviour(const job::JoinOptions& options, int argc, char** argv) {
  std::string own = (options.role == Role::server ? "s" : "w") + std::to_string(options.rank);
  for (int i = 1; i < argc; ++i) {
    std::string text = argv[i];
    auto equals = text.find('=');
    if (equals == std::string::npos) continue;
    if (text.substr(0, equals) == own || text.substr(0, equals) == "all") return text.substr(equals + 1);
  }
  return "run";
}

Status talk(job::Job& job) {
  Time deadline = steady_clock().now() + 20 * kSecond;
  std::string own = std::to_string(job.rank());
  COHAUL_TRY(job.set("greeting/" + own, "hello from " + own));
  for (int i = 0; i < job.world(); ++i) {
    COHAUL_ASSIGN(std::string text, job.get("greeting/" + std::to_string(i), deadline));
    if (text != "hello from " + std::to_string(i)) return internal("a wrong greeting");
  }
  COHAUL_TRY(job.barrier("talk", job.world(), deadline));
  auto fill = [](transport::Arena& a) {
    a.bytes()[100] = std::byte{42};
    return Status{};
  };
  COHAUL_ASSIGN(auto arena, job.share_on_host("memory", 1 << 20, transport::Access::read, fill, deadline));
  if (arena.bytes()[100] != std::byte{42}) return internal("the memory is not shared");
  COHAUL_ASSIGN(auto poller, transport::make_poller());
  {
    COHAUL_ASSIGN(auto channels, job::connect_workers(job, *poller, "test", 7, deadline));
    COHAUL_TRY(job.barrier("connected", job.world(), deadline));
    for (auto& c : channels) {
      if (c != nullptr) poller->remove(*c);
    }
  }
  return job.barrier("talked", job.world(), deadline);
}

int member(int argc, char** argv) {
  auto options = job::from_environment();
  if (!options.ok()) return fail(options.status());
  std::string what = behaviour(*options, argc, argv);
  if (what == "plain") return 0;
  if (what == "absent") return ::sleep(1000), 0;
  auto joined = job::Job::join(*options);
  if (!joined.ok()) return fail(joined.status());
  job::Job& job = **joined;
  note_operation("member step", job.rank());
  ::usleep(300'000);  // a heartbeat or two
  if (what == "kill") ::raise(SIGKILL);
  if (what == "stop") ::raise(SIGSTOP);
  if (what == "exit5") std::_Exit(5);
  if (what == "exit0") std::_Exit(0);
  if (what == "stuck") {
    for (;;) ::pause();
  }
  if (what == "slow") ::usleep(3'000'000);
  Status status;
  if (what == "fail") status = invalid("train.lr: 'fast' is not a number");
  if (what == "wait") status = job.barrier("never", 1000, steady_clock().now() + 60 * kSecond);
  if (status.ok() && options->role == Role::worker) status = talk(job);
  if (status.ok()) status = job.close();
  if (!status.ok()) {
    job.report_failure(status);
    return fail(status);
  }
  if (what == "linger") ::sleep(1000);
  std::printf("done\n");
  return 0;
}

int launch(int argc, char** argv) {
  if (argc < 11) return 64;
  job::LaunchOptions o;
  o.workers = std::atoi(argv[2]);
  o.servers = std::atoi(argv[3]);
  o.peer_timeout_s = std::atof(argv[4]);
  o.join_timeout_s = std::atof(argv[5]);
  o.address = argv[6];
  o.must_join = std::strcmp(argv[7], "must") == 0;
  o.logs = argv[8];
  o.worker_command.assign(argv + 10, argv + argc);
  o.server_command = o.worker_command;
  o.on_started = [](const job::LaunchedProcess& p) {
    std::printf("started %s %d pid %lld\n", p.role == Role::server ? "server" : "worker", p.rank,
                static_cast<long long>(p.pid));
    std::fflush(stdout);
  };
  auto outcome = job::launch(o);
  if (!outcome.ok()) return fail(outcome.status());
  if (!outcome->message.empty()) std::fprintf(stderr, "%s\n", outcome->message.c_str());
  return outcome->exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  ::signal(SIGPIPE, SIG_IGN);
  return argc > 1 && std::strcmp(argv[1], "launch") == 0 ? launch(argc, argv) : member(argc, argv);
}
