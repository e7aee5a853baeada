// `cohaul doctor`, on machines that are planted as files.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cohaul/base/testing/planted_files.h"
#include "cohaul/cli/doctor_report.h"

namespace cohaul::cli {
namespace {

namespace fs = std::filesystem;

/// A folder with proc/, sys/ and etc/ of a machine.
class Planted : public testing::Test {
 protected:
  void SetUp() override {
    own_.write("proc/sys/kernel/osrelease", "6.1.0-13-amd64\n");
    own_.write("etc/os-release", "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n");
    own_.write("proc/cpuinfo",
               "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\n\nprocessor\t: 1\nmodel name\t: Other\n");
    own_.write("proc/self/status", "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t0-5,8\n");
    own_.write("proc/meminfo", "MemTotal:       16384000 kB\nMemAvailable:   8192000 kB\nSwapTotal:       1024 kB\n");
    own_.write("proc/self/limits",
               "Limit                     Soft Limit           Hard Limit           Units     \n"
               "Max file size             unlimited            unlimited            bytes     \n"
               "Max locked memory         8388608              8388608              bytes     \n"
               "Max processes             127                  127                  processes \n"
               "Max open files            1024                 1048576              files     \n"
               "Max address space         unlimited            unlimited            bytes     \n");
    own_.write("sys/devices/system/node/node0/cpulist", "0-3\n");
    own_.write("sys/devices/system/node/node0/meminfo", "Node 0 MemTotal:       8192000 kB\nNode 0 MemFree: 1 kB\n");
    own_.write("sys/devices/system/node/node1/cpulist", "4-8\n");
    own_.write("sys/devices/system/node/node1/meminfo", "Node 1 MemTotal:       8192000 kB\n");
    own_.write("sys/devices/system/node/possible", "0-1\n");
  }
  Machine machine() const { return read_machine(own_.path()); }

  PlantedFiles own_;
};

TEST_F(Planted, MachineIsRead) {
  const Machine m = machine();
  EXPECT_EQ(m.kernel, "6.1.0-13-amd64");
  EXPECT_EQ(m.distribution, "Debian GNU/Linux 12 (bookworm)");
  EXPECT_EQ(m.processor, "Some CPU @ 3 GHz");
  EXPECT_EQ(m.affinity, "0-5,8");
  EXPECT_EQ(m.cores, 7);
  EXPECT_EQ(m.memory.total, 16384000ull * 1024);
  EXPECT_EQ(m.memory.available, 8192000ull * 1024);
  EXPECT_FALSE(m.memory.cgroup_limit);
  EXPECT_EQ(m.limits.open_files, 1024u);
  EXPECT_EQ(m.limits.locked_memory, 8388608u);
  EXPECT_EQ(m.limits.processes, 127u);
  EXPECT_FALSE(m.limits.file_size);
  EXPECT_FALSE(m.limits.address_space);
  ASSERT_EQ(m.nodes.size(), 2u);
  EXPECT_EQ(m.nodes[1].cpus, "4-8");
  EXPECT_EQ(m.nodes[0].bytes, 8192000ull * 1024);
  EXPECT_EQ(m.shm_bytes, 0u) << "the planted machine has no dev/shm";
}

TEST_F(Planted, CgroupsOfVersion2LimitWhatIsBelowThem) {
  own_.write("proc/self/cgroup", "0::/jobs/mine\n");
  own_.write("sys/fs/cgroup/jobs/memory.max", "1073741824\n");
  own_.write("sys/fs/cgroup/jobs/memory.current", "73741824\n");
  own_.write("sys/fs/cgroup/jobs/mine/memory.max", "max\n");
  own_.write("sys/fs/cgroup/jobs/mine/cpu.max", "150000 100000\n");
  const Machine m = machine();
  EXPECT_EQ(m.memory.cgroup_limit, 1073741824u);
  EXPECT_EQ(m.memory.cgroup_used, 73741824u);
  EXPECT_EQ(m.quota, 2);
  EXPECT_EQ(m.cores, 2);
}

TEST_F(Planted, CgroupsOfVersion1SayNoLimitByAHugeNumber) {
  own_.write("proc/self/cgroup", "9:memory:/mine\n4:cpuset:/other\n3:cpu,cpuacct:/mine\n1:name=systemd:/\n");
  own_.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_FALSE(machine().memory.cgroup_limit);
  own_.write("sys/fs/cgroup/memory/mine/memory.limit_in_bytes", "536870912\n");
  own_.write("sys/fs/cgroup/memory/mine/memory.usage_in_bytes", "536870000\n");
  EXPECT_EQ(machine().memory.cgroup_limit, 536870912u);
  EXPECT_EQ(machine().memory.cgroup_used, 536870000u);
  own_.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  own_.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  own_.write("sys/fs/cgroup/cpu/other/cpu.cfs_quota_us", "100000\n");
  own_.write("sys/fs/cgroup/cpu/other/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(machine().quota, 0);
  own_.write("sys/fs/cgroup/cpu/mine/cpu.cfs_quota_us", "300000\n");
  own_.write("sys/fs/cgroup/cpu/mine/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(machine().quota, 3);
}

TEST_F(Planted, AnEmptyRootIsNoError) {
  const Machine m = read_machine(own_.path() + "/nowhere");
  EXPECT_EQ(m.cores, 0);
  EXPECT_EQ(m.memory.total, 0u);
}

/// A machine on which all is well.
struct Sound {
  Machine machine{.affinity = "0-3",
                  .cores = 4,
                  .memory = {.total = 8ull << 30, .available = 4ull << 30},
                  .limits = {.open_files = 1024},
                  .shm_bytes = 1 << 30,
                  .shm_free = 1 << 30};
  Network network{.host = "node7", .means = {"10.0.0.7"}, .addresses = {"10.0.0.7"}};
  WorkerAnswer worker{true, "cohaul-worker 0.1.0"};
  std::vector<std::string> refused{};
  int threads = 0, workers = 4;

  std::vector<Finding> findings() const { return diagnose(machine, network, worker, refused, threads, workers); }
  /// The only finding.
  Finding finding() const {
    const std::vector<Finding> found = findings();
    EXPECT_EQ(found.size(), 1u);
    return found.empty() ? Finding{} : found.front();
  }
};

void expect_said(const Finding& f, bool stops, const std::string& problem, const std::string& fix) {
  EXPECT_EQ(f.stops_jobs, stops) << f.problem;
  EXPECT_NE(f.problem.find(problem), std::string::npos) << f.problem;
  EXPECT_NE(f.fix.find(fix), std::string::npos) << f.fix;
}

TEST(Diagnosis, ASoundMachineHasNothing) { EXPECT_TRUE(Sound().findings().empty()); }

TEST(Diagnosis, LimitsOfTheProcess) {
  Sound s;
  s.workers = 300;
  s.machine.memory.available = s.machine.memory.total = 64ull << 30;
  expect_said(s.finding(), true, "ulimit -n allows 1024 open files, and a job of 300 workers needs 1232",
              "ulimit -n 1232");
  s = {};
  s.machine.limits.address_space = 1 << 30;
  expect_said(s.finding(), true, "ulimit -v limits the address space to 1024 MiB", "ulimit -v unlimited");
  s = {};
  s.machine.limits.file_size = 1 << 20;
  expect_said(s.finding(), true, "ulimit -f limits files, and with them shared memory, to 1 MiB",
              "ulimit -f unlimited");
}

TEST(Diagnosis, Memory) {
  Sound s;
  s.machine.memory.available = 500 << 20;
  expect_said(s.finding(), true, "500 MiB of memory are available, and the smallest job of 4 workers needs 640 MiB",
              "fewer");
  s = {};
  s.machine.memory.cgroup_limit = 700 << 20;
  s.machine.memory.cgroup_used = 300 << 20;
  expect_said(s.finding(), true, "the cgroup leaves 400 MiB", "the container's memory limit");
  s = {};
  s.machine.shm_free = 1 << 20;
  expect_said(s.finding(), false, "/dev/shm has 1 MiB free; Cohaul does not use it", "--shm-size");
}

TEST(Diagnosis, NamesThatOthersCannotReach) {
  Sound s;
  s.network.means = {"127.0.1.1"};
  expect_said(s.finding(), false, "node7 stands for 127.0.1.1 alone", "name it by 10.0.0.7");
  s.network.means = {};
  expect_said(s.finding(), false, "node7 is not known to the resolver", "10.0.0.7");
  s.network.addresses = {};
  expect_said(s.finding(), false, "no address that others could reach", "network");
}

TEST(Diagnosis, WhatStopsJobsComesFirst) {
  Sound s;
  s.threads = 8;
  expect_said(s.finding(), false, "OMP_NUM_THREADS is 8, and this process may use 4 cores", "unset OMP_NUM_THREADS");
  s.worker = {false, "no LibTorch was found"};
  s.refused = {"memfd_create: Operation not permitted"};
  const std::vector<Finding> found = s.findings();
  ASSERT_EQ(found.size(), 3u);
  expect_said(found[0], true, "the worker does not start: no LibTorch was found", "LibTorch_ROOT");
  expect_said(found[1], true, "the system refuses memfd_create: Operation not permitted", "seccomp");
  EXPECT_FALSE(found[2].stops_jobs);
}

TEST(LastFailedRun, IsTheNewestWithLogs) {
  PlantedFiles own;
  EXPECT_EQ(last_failed_run(own.path()).folder, "");
  const auto put = [&](const std::string& name, const std::string& text, int seconds_ago) {
    own.write(name, text);
    fs::last_write_time(own.file(name), fs::file_time_type::clock::now() - std::chrono::seconds(seconds_ago));
  };
  put("cohaul-old/worker_0.log", "cohaul: old\n", 100);
  put("cohaul-new/worker_0.log", "1\n2\n3\ncohaul: new\nframe #0: a call that led there\n", 50);
  put("cohaul-new/worker_1.log", "", 50);
  put("cohaul-new/server_0.log", "gone", 40);
  put("cohaul-other/notes.txt", "no log\n", 1);
  put("another/worker_0.log", "of another program\n", 1);
  const LastRun run = last_failed_run(own.path(), 4, 2);
  EXPECT_EQ(run.folder, own.file("cohaul-new"));
  ASSERT_EQ(run.logs.size(), 2u);
  EXPECT_EQ(run.logs[0].path, own.file("cohaul-new/server_0.log"));
  EXPECT_EQ(run.logs[0].last_lines, (std::vector<std::string>{"gone"}));
  EXPECT_EQ(run.logs[1].last_lines, (std::vector<std::string>{"3", "cohaul: new"}));
  EXPECT_EQ(last_failed_run(own.path(), 1).logs.size(), 1u);
}

TEST(CoreDistance, OfEveryPair) {
  EXPECT_TRUE(core_distances({0}).empty());
  EXPECT_EQ(summary_of({}), "");
  EXPECT_EQ(summary_of({{0, 1, 62.2}}), "62 ns (0-1)");
  EXPECT_EQ(summary_of({{0, 1, 62.2}, {1, 2, 50}, {0, 2, 200}}), "50 ns (1-2) to 200 ns (0-2), median 62 ns");
  const long cores = ::sysconf(_SC_NPROCESSORS_ONLN);
  if (cores < 2) GTEST_SKIP() << "needs two cores";
  for (const CorePair& pair : core_distances({0, 1})) EXPECT_GT(pair.round_trip_ns, 0);
}

TEST(Report, TextAndJsonSayTheSame) {
  const Sound s;
  Examination e;
  e.machine = s.machine;
  e.network = s.network;
  e.worker = s.worker;
  e.environment = {{"COHAUL_SECRET", "(set)"}, {"OMP_NUM_THREADS", "2"}};
  e.core_distances = {{0, 1, 62}};
  e.findings = {{true, "it is broken", "mend it"}};
  e.last_failed_run = {"/x", {{"/x/worker_0.log", {"cohaul: \xff lost"}}}};
  const nlohmann::ordered_json json = json_of(e);
  EXPECT_EQ(json["limits"]["open_files"], 1024);
  EXPECT_TRUE(json["limits"]["file_size_bytes"].is_null());
  EXPECT_EQ(json["processor"]["core_to_core"][0]["round_trip_ns"], 62);
  EXPECT_EQ(json["findings"][0]["fix"], "mend it");
  const std::string text = text_of(e);
  for (const char* line :
       {"\n  open files          1024\n", "\n  file size           unlimited\n", "\n  total               8 GiB\n",
        "\n  core to core        62 ns (0-1), there and back\n", "\n  OMP_NUM_THREADS     2\n",
        "\n  COHAUL_SECRET       (set)\n", "\n  host stands for     10.0.0.7\n", "\n    cohaul: \xff lost\n",
        "\n  wrong: it is broken\n         fix: mend it\n"})
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
}

}  // namespace
}  // namespace cohaul::cli
