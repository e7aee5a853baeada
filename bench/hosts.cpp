// cohaul bench hosts: steps and streams between two hosts, compared with PyTorch DDP over Gloo and with gRPC.
//
// Hosts are network namespaces with a cable between them, whose rate `tc` sets (so it needs root, and `ip`). Cohaul's messages are encrypted unless a
// row says otherwise; DDP over Gloo is not. Runs of a row alternate; figures are medians. Cohaul's runs are verified: all runs of a row must have the
// same parameters as one host. The peer's are checked by its number of parameters.

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "cohaul/base/temporary_folder.h"
#include "cohaul/cli/child.h"
#include "cohaul/observe/format.h"
#include "cohaul/observe/table.h"
#include "median.h"
#include "training.h"

namespace cohaul::bench {
namespace {

using nlohmann::json;

constexpr double kParameterBytes = 1863690 * 4.0;  // of the mlp
constexpr const char* kSecret = "COHAUL_SECRET=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

Result<std::string> sh(const std::string& script) {
  COHAUL_ASSIGN(const cli::ChildResult child,
                cli::run_child({"/bin/bash", "-c", script},
                               {.capture_out = true, .capture_err = true, .timeout = 600 * kSecond}));
  if (child.exit != 0)
    return internal(script.substr(0, 200) + "…: exit " + std::to_string(child.exit) + ": " + child.err);
  return child.out;
}

/// Two network namespaces, which its destructor removes.
class TwoHosts {
 public:
  Status make() {
    return sh("set -e\n"
              "ip netns add " +
              name(1) + "; ip netns add " + name(2) +
              "\n"
              "ip -n " +
              name(1) + " link add cable type veth peer name cable netns " + name(2) +
              "\n"
              "for h in 1 2; do n=" +
              stem_ +
              "$h; ip -n $n addr add 10.93.0.$h/24 dev cable; ip -n $n link set cable up;"
              " ip -n $n link set lo up; done")
        .status();
  }
  ~TwoHosts() { (void)sh("ip netns del " + name(1) + "; ip netns del " + name(2)).ok(); }
  /// Limits the cable's rate. mbit: 0 is no limit.
  Status set_rate(int mbit) const {
    std::string script;
    for (const int h : {1, 2}) {
      script += "ip netns exec " + name(h) + " tc qdisc del dev cable root 2>/dev/null; ";
      if (mbit > 0)
        script += "ip netns exec " + name(h) + " tc qdisc add dev cable root tbf rate " + std::to_string(mbit) +
                  "mbit burst " + std::to_string(std::max(32, mbit)) + "kb latency 400ms || exit 1; ";
    }
    return sh(script + "true").status();
  }
  std::string on(int host) const { return "ip netns exec " + name(host) + " "; }

 private:
  std::string name(int host) const { return stem_ + std::to_string(host); }
  std::string stem_ = "cohaul-bench-" + std::to_string(::getpid()) + "-";
};

struct Bench {
  TwoHosts hosts;
  std::string bin, folder;
  std::vector<std::string> sets;

  /// Runs one command for each rank, on host places[rank]; {} in the command stands for the rank. Returns the output of rank 0.
  Result<std::string> all(const std::vector<int>& places, const std::string& environment,
                          const std::string& command) const {
    std::string script;
    for (std::size_t r = 0; r < places.size(); ++r) {
      std::string here = command;
      for (std::size_t at; (at = here.find("{}")) != std::string::npos;) here.replace(at, 2, std::to_string(r));
      script += hosts.on(places[r]) + "env " + environment + " RANK=" + std::to_string(r) +
                " WORLD_SIZE=" + std::to_string(places.size()) + " MASTER_ADDR=10.93.0.1 MASTER_PORT=29611 " + here +
                (r == 0 ? "" : " >/dev/null") + " & p=\"$p $!\"\n";
    }
    return sh(script + "for q in $p; do wait $q || exit 1; done");
  }

  struct Step {
    double ms = 0;
    std::string hash;
  };
  Result<Step> ours(const std::vector<int>& places, int steps, bool plain) const {
    std::string command =
        bin + "/cohaul train " COHAUL_JOBS "/mlp.toml --quiet --record " + folder + "/record-{}" +
        " --set train.steps=" + std::to_string(steps) + " --set train.batch=" + std::to_string(64 * places.size()) +
        " --set job.threads=1 --set optimizer.name=sgd --set optimizer.lr=0.01 --set optimizer.momentum=0.9";
    for (const std::string& s : sets) command += " --set " + s;
    if (plain) command += " --set job.plaintext=true";
    COHAUL_TRY(all(places, plain ? "COHAUL_SECRET=" : kSecret, command).status());
    std::ifstream record(folder + "/record-0");
    for (std::string line; std::getline(record, line);) {
      const json j = json::parse(line, nullptr, false);
      if (j.is_object() && j.value("record", "") == "result")
        return Step{j.at("step_ms_median"), j.at("parameters_sha256")};
    }
    return internal("cohaul train left no result");
  }
  Result<double> ddp(const std::vector<int>& places, int steps) const {
    COHAUL_ASSIGN(
        const std::string out,
        all(places, "GLOO_SOCKET_IFNAME=cable",
            std::string(COHAUL_PEER_PYTHON " " COHAUL_PEERS "/pytorch_ddp.py --model mlp --rank {} --world ") +
                std::to_string(places.size()) + " --steps " + std::to_string(steps) +
                " --warmup 5 --optimizer momentum"));
    const json j = json::parse(out, nullptr, false);
    if (!j.is_object() || j.value("parameters", 0) != 1863690) return internal("the peer printed: " + out);
    return j.at("step_ms").get<double>();
  }
  Result<double> our_stream() const {
    COHAUL_ASSIGN(const std::string out,
                  all({1, 2}, kSecret, bin + "/cohaul probe --names node1,node2 --seconds 2 --json"));
    const json j = json::parse(out, nullptr, false);
    if (!j.is_array() || j.size() != 1 || j[0].value("by", "") != "TLS")
      return internal("cohaul probe printed: " + out);
    return j[0].at("there_mb_per_s").get<double>();
  }
  Result<double> grpc_stream() const {
    const std::string program = bin + "/cohaul-bench-grpc-stream ", cert = folder + "/cert.pem",
                      key = folder + "/key.pem";
    COHAUL_ASSIGN(const std::string out,
                  sh(hosts.on(2) + program + "server 10.93.0.2:29612 " + cert + " " + key + " & s=$!; " + hosts.on(1) +
                     program + "client 10.93.0.2:29612 " + cert + " 2 || { kill $s; exit 1; }; wait $s"));
    return std::stod(out);
  }
};

/// Runs both alternately, and returns their medians.
Result<std::pair<double, double>> in_turn(int reps, const std::function<Result<double>()>& ours,
                                          const std::function<Result<double>()>& peer) {
  std::vector<double> a, b;
  for (int i = 0; i < reps; ++i) {
    COHAUL_ASSIGN(const double mine, ours());
    COHAUL_ASSIGN(const double theirs, peer());
    a.push_back(mine), b.push_back(theirs);
  }
  return std::pair(median(a), median(b));
}

Result<std::string> run(const Arguments& arguments, const Note& note) {
  if (::geteuid() != 0) return invalid("network namespaces need root");
  COHAUL_ASSIGN(const TemporaryFolder folder, TemporaryFolder::make("bench-hosts"));
  Bench bench;
  COHAUL_ASSIGN(bench.bin, cli::own_folder());
  bench.folder = folder.path();
  bench.sets = arguments.sets;
  COHAUL_TRY(bench.hosts.make());
  COHAUL_TRY(sh("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=cohaul-bench"
                " -addext subjectAltName=DNS:cohaul-bench -keyout " +
                bench.folder + "/key.pem -out " + bench.folder + "/cert.pem")
                 .status());
  const std::vector<int> four{1, 1, 2, 2}, two{1, 2};
  std::string hash_of_four, hash_of_two;
  const auto step = [&](const std::vector<int>& places, int steps, bool plain) -> Result<double> {
    COHAUL_ASSIGN(const Bench::Step s, bench.ours(places, steps, plain));
    std::string& expected = (places.size() == 4 ? hash_of_four : hash_of_two);
    if (!expected.empty() && expected != s.hash) return corrupt("two runs of the mlp have different parameters");
    expected = s.hash;
    return s.ms;
  };
  const int steps = 20;
  observe::Table table({"between two hosts", "Cohaul", "beside", "", "ratio"});
  const auto row = [&](const std::string& what, const char* unit, std::pair<double, double> figures,
                       const std::string& peer, double ratio) {
    const auto [ours, theirs] = figures;
    table.row({what, observe::fixed(ours, 1) + " " + unit, peer, observe::fixed(theirs, 1) + " " + unit,
               observe::fixed(ratio, 2)});
    note({{"bench", "hosts"},
          {"case", what},
          {"unit", unit},
          {"ours", ours},
          {"peer", peer},
          {"theirs", theirs},
          {"ratio", ratio}});
  };
  COHAUL_TRY(bench.hosts.set_rate(100));
  const double least = kParameterBytes * 8 / 100e6 * 1e3;
  COHAUL_ASSIGN(auto figures,
                in_turn(
                    arguments.reps, [&] { return step(four, steps, false); }, [&] { return Result<double>(least); }));
  row("mlp, 2x2, 100 Mbit: step", "ms", figures, "the bytes alone", figures.first / figures.second);
  COHAUL_TRY(bench.hosts.set_rate(1000));
  COHAUL_ASSIGN(figures,
                in_turn(
                    arguments.reps, [&] { return step(four, steps, false); }, [&] { return bench.ddp(four, steps); }));
  row("mlp, 2x2, 1 Gbit: step", "ms", figures, "DDP over Gloo, plain text", figures.second / figures.first);
  COHAUL_TRY(bench.hosts.set_rate(0));
  COHAUL_ASSIGN(figures, in_turn(
                             arguments.reps, [&] { return step(two, 4 * steps, false); },
                             [&] { return step(two, 4 * steps, true); }));
  row("mlp, 2x1: step", "ms", figures, "itself without TLS", figures.first / figures.second);
  COHAUL_ASSIGN(figures, in_turn(
                             arguments.reps, [&] { return bench.our_stream(); }, [&] { return bench.grpc_stream(); }));
  row("1 MiB messages", "MB/s", figures, "gRPC with TLS", figures.first / figures.second);
  return table.text();
}

}  // namespace
}  // namespace cohaul::bench

int main(int argc, char** argv) {
  using namespace cohaul::bench;
  return bench_main(argc, argv, "hosts", "Steps and streams between two hosts, beside PyTorch DDP over Gloo and gRPC.",
                    {.reps = 3}, run);
}
