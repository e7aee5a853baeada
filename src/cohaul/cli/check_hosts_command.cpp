#include "cohaul/cli/check_hosts_command.h"

#include <iostream>
#include <nlohmann/json.hpp>

#include "cohaul/base/exit_code.h"
#include "cohaul/base/failing_writes.h"
#include "cohaul/cli/launching.h"
#include "cohaul/job/host_port.h"
#include "cohaul/job/hosts/probe.h"
#include "cohaul/observe/format.h"
#include "cohaul/observe/table.h"

namespace cohaul::cli {
namespace {

void print_table(const std::vector<job::PairProbe>& pairs, const std::vector<std::string>& names) {
  observe::Table table({"from", "to", "by", "round trip µs", "there MB/s", "back MB/s", "sent again"});
  for (const job::PairProbe& p : pairs)
    table.row({names.at(static_cast<std::size_t>(p.from)), names.at(static_cast<std::size_t>(p.to)), p.form,
               observe::fixed(p.round_trip_us, 1), observe::fixed(p.mb_per_s_there, 1),
               observe::fixed(p.mb_per_s_back, 1), std::to_string(p.retransmitted)});
  std::cout << table.text();
}

void print_json(const std::vector<job::PairProbe>& pairs, const std::vector<std::string>& names) {
  nlohmann::json out = nlohmann::json::array();
  for (const job::PairProbe& p : pairs)
    out.push_back({{"from", names.at(static_cast<std::size_t>(p.from))},
                   {"to", names.at(static_cast<std::size_t>(p.to))},
                   {"by", p.form},
                   {"round_trip_us", p.round_trip_us},
                   {"there_mb_per_s", p.mb_per_s_there},
                   {"back_mb_per_s", p.mb_per_s_back},
                   {"segments_sent_again", p.retransmitted}});
  std::cout << out.dump(2) << "\n";
}

Status probe(const ProbeArguments& arguments) {
  COHAUL_ASSIGN(const job::JoinOptions options, job::from_environment());
  COHAUL_ASSIGN(const std::unique_ptr<job::Job> joined, job::Job::join(options));
  const auto pairs = job::probe_pairs(*joined, seconds(arguments.seconds));
  if (!pairs.ok()) {
    joined->report_failure(pairs.status());
    return pairs.status();
  }
  const std::vector<std::string> names = job::split_hosts(arguments.names);
  if (joined->rank() == 0 && static_cast<int>(names.size()) == joined->world())
    (arguments.json ? print_json : print_table)(*pairs, names);
  std::cout.flush();
  return joined->close();
}

}  // namespace

int run_check_hosts(const CheckHostsArguments& arguments) {
  const FailingWrites failing;
  job::LaunchOptions options;
  Status status = set_hosts(arguments.on, std::nullopt, options);
  for (const job::HostSlots& host : options.hosts)
    if (status.ok() && host.workers != 1)
      status = invalid("check-hosts: " + host.name + ": leave the number of workers out: each host is measured once");
  if (status.ok() && options.hosts.size() < 2) status = invalid("check-hosts: give at least two hosts: a,b");
  if (!status.ok()) {
    std::cerr << "cohaul: " << status.message() << "\n";
    return exit_code(status.code());
  }
  std::vector<std::string> names;
  for (const job::HostSlots& host : options.hosts) names.push_back(host.name);
  options.worker_command = {options.cohaul,         "probe",     "--names",
                            job::comma_list(names), "--seconds", std::to_string(arguments.seconds)};
  if (arguments.json) options.worker_command.push_back("--json");
  const Outcome failed = launch_and_wait(std::move(options));
  if (!failed) return kDone;
  std::cerr << "cohaul: " << failed->message << std::endl;
  return failed->exit;
}

int run_probe(const ProbeArguments& arguments) {
  const Status status = probe(arguments);
  if (!status.ok()) std::cerr << "cohaul: " << status.message() << "\n";
  return exit_code(status.code());
}

}  // namespace cohaul::cli
