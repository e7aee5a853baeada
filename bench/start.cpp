// cohaul bench start: how long a job takes from its command to its first step, with two workers on each of two hosts, under the engines that start jobs and
// over ssh. From that time are taken off the first step of a job with four workers on one host, and what the engine itself needs for four tasks `true`.
//
// The first step is done when worker 0 has written it into the record. Hosts are network namespaces of this machine (so it needs root). Open MPI and MPICH
// enter them without ssh; Slurm's tasks go there from its virtual nodes (tools/with_slurm). All runs must have the same parameters. Runs alternate; the
// figures are medians.

#include <stdlib.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/base/temporary_folder.h"
#include "cohaul/cli/child.h"
#include "cohaul/observe/format.h"
#include "cohaul/observe/table.h"
#include "median.h"
#include "ssh_hosts.h"
#include "training.h"

namespace cohaul::bench {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Words = std::vector<std::string>;

constexpr Duration kTimeout = 60 * kSecond;

Words operator+(Words a, const Words& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

/// What starts a program as four tasks on two hosts.
struct Engine {
  std::string name, missing;  // missing: why it cannot be measured here; empty: it can
  Words for_job, for_true;    // followed by the program
};

struct Run {
  double seconds = 0;  // from the command to the record's first step
  std::string hash;    // of the parameters
};

struct Samples {
  std::vector<double> job, bare, rest;
};

class Bench {
 public:
  Bench(std::string bin, std::string folder, const Words& sets) : bin_(std::move(bin)), folder_(std::move(folder)) {
    std::ofstream(file("secret")) << "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n";
    fs::permissions(file("secret"), fs::perms::owner_read);
    hosts_.write_enter(file("enter"));
    write_program("shell", "[ \"$1\" = -x ] && shift\nhost=$1; shift\nexec " + file("enter") + " $host sh -c \"$*\"\n");
    write_program("task", "exec " + file("enter") + " $((SLURM_NODEID + 1)) \"$@\"\n");
    write_program("both", hosts_.ssh() + " node1 \"$@\" & first=$!\n" + hosts_.ssh() + " node2 \"$@\"\nwait $first\n");
    for (const std::string& pair : Words{"train.steps=3", "train.log_every=1", "job.threads=1"} + sets)
      job_ = job_ + Words{"--set", pair};
  }

  std::vector<Engine> engines() const {
    const Words open_mpi{"/usr/bin/mpirun.openmpi",
                         "--mca",
                         "plm_rsh_agent",
                         file("shell"),
                         "--mca",
                         "rtc",
                         "^hwloc",
                         "--host",
                         "node1:2,node2:2",
                         "-np",
                         "4"},
        mpich{"/usr/bin/mpirun.mpich",
              "-launcher-exec",
              file("shell"),
              "-hosts",
              "node1,node2",
              "-ppn",
              "2",
              "-iface",
              hosts_.bridge(),
              "-np",
              "4"},
        slurm{"/usr/bin/srun", "-N2", "-n4", "-w", "node0,node1", "--ntasks-per-node=2", file("task")};
    const bool has_cluster = ::getenv("SLURM_CONF") != nullptr;
    std::vector<Engine> out{under("mpirun (Open MPI)", open_mpi), under("mpirun (MPICH)", mpich), under("srun", slurm)};
    if (out.back().missing.empty() && !has_cluster) out.back().missing = "no cluster is set up: use tools/with_slurm";
    out.push_back(
        {"ssh (--hosts)", "", train({"--hosts", "node1:2,node2:2", "--ssh", hosts_.ssh()}), {file("both"), "true"}});
    return out;
  }

  /// Starts the job by this command line, and waits until it has ended.
  Result<Run> first_step(const Words& argv) const {
    std::error_code error;
    fs::remove(file("record"), error);
    const Clock& clock = steady_clock();
    const Time begun = clock.now();
    auto ended = std::async(std::launch::async, [&] { return run(argv); });
    std::optional<Time> stepped;
    while (ended.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready)
      if (!stepped && !lines("step").empty()) stepped = clock.now();
    COHAUL_TRY(ended.get());
    if (!stepped || lines("result").empty()) return internal("the record of " + argv.front() + " is not complete");
    return Run{static_cast<double>(*stepped - begun) / kSecond, lines("result").front().at("parameters_sha256")};
  }
  /// Returns how long a command takes until it has ended, in seconds.
  static Result<double> time(const Words& argv) {
    const Time begun = steady_clock().now();
    COHAUL_TRY(run(argv));
    return static_cast<double>(steady_clock().now() - begun) / kSecond;
  }
  Words on_one_host() const { return train({"--workers", "4"}); }

 private:
  std::string file(const std::string& name) const { return folder_ + "/" + name; }
  void write_program(const std::string& name, const std::string& lines) const {
    std::ofstream(file(name)) << "#!/bin/sh\n" << lines;
    fs::permissions(file(name), fs::perms::owner_all);
  }
  Words train(const Words& options) const {
    return Words{bin_ + "/cohaul", "train", COHAUL_JOBS "/softmax.toml", "--quiet", "--record", file("record")} + job_ +
           options;
  }
  Engine under(const std::string& name, const Words& engine) const {
    const bool is_there = ::access(engine.front().c_str(), X_OK) == 0;
    return {name, is_there ? "" : engine.front() + " is not installed",
            engine + train({"--set", "job.secret=" + file("secret")}), engine + Words{"true"}};
  }
  std::vector<json> lines(const std::string& kind) const { return lines_of(read_record(file("record")), kind); }
  static Status run(const Words& argv) {
    COHAUL_ASSIGN(const cli::ChildResult child,
                  cli::run_child(argv, {.capture_out = true, .capture_err = true, .timeout = kTimeout}));
    if (child.exit == 0) return {};
    return internal(argv.front() + ": exit " + std::to_string(child.exit) + ": " + child.out + child.err);
  }

  tests::SshHosts hosts_{2};
  std::string bin_, folder_;
  Words job_;
};

/// Measures all once, in turn.
Status measure(const Bench& bench, const std::vector<Engine>& engines, std::vector<double>& one_host,
               std::vector<Samples>& samples) {
  COHAUL_ASSIGN(const Run own, bench.first_step(bench.on_one_host()));
  one_host.push_back(own.seconds);
  for (std::size_t i = 0; i < engines.size(); ++i) {
    if (!engines[i].missing.empty()) continue;
    COHAUL_ASSIGN(const double bare, Bench::time(engines[i].for_true));
    COHAUL_ASSIGN(const Run job, bench.first_step(engines[i].for_job));
    if (job.hash != own.hash) return corrupt(engines[i].name + ": its parameters differ from those of one host");
    samples[i].bare.push_back(bare);
    samples[i].job.push_back(job.seconds);
    samples[i].rest.push_back(job.seconds - own.seconds - bare);
  }
  return {};
}

std::string load() {
  std::array<double, 1> minute{};
  return ::getloadavg(minute.data(), 1) == 1 ? observe::fixed(minute[0], 1) : "unknown";
}

Result<std::string> run(const Arguments& arguments, const Note& note) {
  if (const std::string why = tests::why_no_hosts(); !why.empty()) return invalid(why);
  ::setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
  ::setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
  COHAUL_ASSIGN(const TemporaryFolder folder, TemporaryFolder::make("bench-start"));
  COHAUL_ASSIGN(const std::string bin, cli::own_folder());
  const Bench bench(bin, folder.path(), arguments.sets);
  const std::vector<Engine> engines = bench.engines();
  std::vector<double> one_host;
  std::vector<Samples> samples(engines.size());
  const std::string load_before = load();
  for (int i = 0; i < arguments.reps; ++i) COHAUL_TRY(measure(bench, engines, one_host, samples));
  const std::string load_after = load();
  observe::Table table({"softmax, to the first step", "two hosts", "one host", "`true`", "the rest"});
  std::string skipped;
  const auto seconds = [](const std::vector<double>& v) { return observe::fixed(median(v), 2) + " s"; };
  for (std::size_t i = 0; i < engines.size(); ++i) {
    const Samples& s = samples[i];
    if (s.rest.empty()) {
      skipped += "not measured: " + engines[i].name + ": " + engines[i].missing + "\n";
      note({{"bench", "start"}, {"case", engines[i].name}, {"skipped", engines[i].missing}});
      continue;
    }
    table.row({engines[i].name, seconds(s.job), seconds(one_host), seconds(s.bare), seconds(s.rest)});
    note({{"bench", "start"},
          {"case", engines[i].name},
          {"two_hosts_s", s.job},
          {"one_host_s", one_host},
          {"true_s", s.bare},
          {"rest_s", s.rest},
          {"median_rest_s", median(s.rest)},
          {"load_before", load_before},
          {"load_after", load_after}});
  }
  return table.text() + skipped + "load of the machine: " + load_before + " before, " + load_after + " after\n";
}

}  // namespace
}  // namespace cohaul::bench

int main(int argc, char** argv) {
  using namespace cohaul::bench;
  return bench_main(argc, argv, "start", "From the command to the first step on two hosts, under engines and over ssh.",
                    {.reps = 5}, run);
}
