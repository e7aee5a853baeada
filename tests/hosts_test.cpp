// Tests of `--hosts`: jobs on several hosts over ssh. The hosts are network namespaces of this machine.

#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <memory>

#include "broken_files.h"
#include "ssh_hosts.h"
#include "train_runs.h"

namespace cohaul::tests {
namespace {

namespace fs = std::filesystem;

constexpr double kLong = 120, kSoon = 12;

class Hosts : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (why_no_hosts().empty()) hosts_ = std::make_unique<SshHosts>(2);
  }
  static void TearDownTestSuite() { hosts_.reset(); }
  void SetUp() override {
    if (!hosts_) GTEST_SKIP() << why_no_hosts();
    job_ = write_softmax_job(folder_.path(), 600);
  }
  Arguments command(const std::vector<std::string>& pairs, const std::string& hosts) const {
    return Arguments{"train", job_, "--record", "{}/record", "--ssh", hosts_->ssh(), "--hosts", hosts} +
           set({"train.steps=60"}) + set(pairs);
  }
  std::unique_ptr<Running> start(const std::vector<std::string>& pairs = {}, const Arguments& more = {},
                                 const std::string& hosts = "node1:2,node2:2") const {
    return std::make_unique<Running>(COHAUL_BIN "/cohaul", command(pairs, hosts) + more);
  }
  /// Starts a run without end, and returns when it is training.
  std::unique_ptr<Running> start_long(const std::vector<std::string>& pairs = {}) const {
    std::vector<std::string> all{"train.steps=10000000", "train.log_every=1"};
    all.insert(all.end(), pairs.begin(), pairs.end());
    auto running = start(all);
    EXPECT_TRUE(eventually(kLong, [&] { return has_stepped(*running); })) << running->err();
    return running;
  }
  /// Returns the parameters' hash of the same run on one host.
  std::string own(const std::vector<std::string>& pairs = {}) const {
    return train(job_, Arguments{"--workers", "4"} + set({"train.steps=60"}) + set(pairs)).hash();
  }
  static void expect_failure(Running& running, int exit, const std::vector<std::string>& words, double limit = kSoon) {
    EXPECT_EQ(running.wait(limit), exit) << running.err();
    for (const std::string& word : words)
      EXPECT_NE(running.err().find(word), std::string::npos) << "'" << word << "' in: " << running.err();
  }
  static bool nothing_left() {
    return eventually(kSoon, [] {
      std::size_t left = 0;
      for (int host = 1; host <= 2; ++host)
        for (const char* program : {"cohaul", "cohaul-worker", "cohaul-server"})
          left += hosts_->processes(host, program).size();
      return left == 0;
    });
  }
  static inline std::unique_ptr<SshHosts> hosts_;
  TemporaryFolder folder_ = fresh_folder();
  std::string job_;
};

TEST_F(Hosts, GoOnWhenNobodyReadsAtHomeAnyMore) {
  Running running("/bin/bash",
                  Arguments{"-c", "mkfifo {}/record; head -1 {}/record & \"$@\" 2>&1 | head -1; exit ${PIPESTATUS[0]}",
                            "bash", COHAUL_BIN "/cohaul"} +
                      command({"train.log_every=1", "train.save={}/end"}, "node1:1,node2:1"));
  EXPECT_EQ(running.wait(kLong), 0) << running.out() << running.err();
  EXPECT_TRUE(fs::exists(running.folder() + "/end"));
  EXPECT_TRUE(nothing_left());
}

TEST_F(Hosts, GiveTheBitsOfOneHostAndResultsComeHome) {
  const std::string saved = folder_.file("saved.safetensors"), board = folder_.file("board");
  const auto running =
      start({"train.save=" + saved, "train.log_every=20"},
            {"--csv", "{}/table.csv", "--tensorboard", board, "--set", "job.logs=" + folder_.file("logs")});
  ASSERT_EQ(running->wait(kLong), 0) << running->err();
  EXPECT_NE(hash_of(*running), "");
  EXPECT_EQ(hash_of(*running), own());
  int here = 0;
  for (const nlohmann::json& line : record_lines(*running)) {
    if (line.value("record", "") != "process") continue;
    EXPECT_EQ(line.at("host"), line.at("rank").get<int>() < 2 ? "node1" : "node2");
    EXPECT_TRUE(fs::exists(line.at("log").get<std::string>())) << line;
    ++here;
  }
  EXPECT_EQ(here, 4);
  EXPECT_EQ(record_lines(*running).front().at("job").at("train").at("save"), saved);
  EXPECT_GT(fs::file_size(saved), 1000u);
  const std::string table = read_file(running->folder() + "/table.csv");
  // The line of columns, steps, an evaluation.
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 1 + 3 + 1) << table;
  EXPECT_FALSE(fs::is_empty(board));
  EXPECT_NE(read_file(folder_.file("logs/worker_0.log")).find("step 60"), std::string::npos);
  EXPECT_NE(running->out().find("60 steps"), std::string::npos) << running->out();
  EXPECT_TRUE(nothing_left());
}

TEST_F(Hosts, HaveServersToo) {
  for (const std::vector<std::string>& pairs :
       {std::vector<std::string>{"strategy.name=parameter_server", "strategy.servers=2"},
        std::vector<std::string>{"strategy.name=parameter_server"}}) {
    const auto running = start(pairs);
    ASSERT_EQ(running->wait(kLong), 0) << running->err();
    EXPECT_NE(hash_of(*running), "");
    EXPECT_EQ(hash_of(*running), own(pairs));
  }
}

TEST_F(Hosts, TheRecordMayGoToStdout) {
  const Running running(COHAUL_BIN "/cohaul", Arguments{"train", job_, "--record", "-", "--quiet", "--ssh",
                                                        hosts_->ssh(), "--hosts", "node1,node2"} +
                                                  set({"train.steps=20"}));
  auto& run = const_cast<Running&>(running);
  ASSERT_EQ(run.wait(kLong), 0) << run.err();
  const auto lines = json_lines(run.out());
  ASSERT_FALSE(lines.empty()) << run.out();
  EXPECT_EQ(lines.back().value("record", ""), "result");
}

TEST_F(Hosts, WhatIsWrongWithOneIsSaidWithItsName) {
  expect_failure(*start({}, {}, "node1,nodown"), 2,
                 {"host nodown: the agent could not be started", "without a password"});
  expect_failure(*start({}, {"--set", "data.path=/nowhere"}, "node1,node2"), 2, {"host node", "/nowhere"}, kLong);
  expect_failure(*start({}, {"--program", "/no/such/worker"}, "node1,node2"), 2,
                 {"host node", ": cannot start '/no/such/worker'"}, kLong);
  expect_failure(*start({}, {"--workers", "5"}), 2, {"--hosts: the hosts have 4 workers, and the job has 5"});
  expect_failure(*start({}, {}, "node1,node1"), 2, {"'node1' is there twice"});
  EXPECT_TRUE(nothing_left());
}

TEST_F(Hosts, AKilledWorkerIsNamed) {
  const auto running = start_long();
  for (const pid_t pid : hosts_->processes(2, "cohaul-worker")) {
    const std::string variables = '\0' + read_file("/proc/" + std::to_string(pid) + "/environ");
    if (variables.find(std::string("\0COHAUL_RANK=3\0", 15)) != std::string::npos) ::kill(pid, SIGKILL);
  }
  expect_failure(*running, 3, {"worker 3: killed by signal 9 (SIGKILL)", "log: /"});
  EXPECT_TRUE(nothing_left());
}

TEST_F(Hosts, CtrlCEndsAll) {
  const auto running = start_long();
  ::kill(running->pid(), SIGINT);
  EXPECT_EQ(running->wait(kSoon), 128 + SIGINT) << running->err();
  EXPECT_TRUE(nothing_left());
}

TEST_F(Hosts, CtrlCEndsWhatHasNotBegun) {
  const auto running = start({}, {}, "node1,nodown");
  ::usleep(300'000);  // ssh is still trying to reach a host that does not exist
  ::kill(running->pid(), SIGINT);
  EXPECT_EQ(running->wait(kSoon), 128 + SIGINT) << running->err();
  EXPECT_TRUE(nothing_left());
}

TEST_F(Hosts, ALostSshEndsAllAndNamesTheHost) {
  const auto running = start_long();
  for (const pid_t pid : hosts_->processes(2, "cohaul")) ::kill(pid, SIGKILL);
  expect_failure(*running, 3, {"host node2 is lost"});
  EXPECT_TRUE(nothing_left());
}

TEST_F(Hosts, AKilledCommandLeavesNothing) {
  const auto running = start_long();
  ::kill(running->pid(), SIGKILL);
  (void)running->wait(kSoon);
  EXPECT_TRUE(nothing_left());
}

TEST_F(Hosts, ACutCableIsFoundAndAShortOneIsNot) {
  const auto running = start_long({"job.peer_timeout_s=6"});
  hosts_->cut(2);
  ::sleep(3);
  hosts_->mend(2);
  const std::size_t lines = record_lines(*running).size();
  EXPECT_TRUE(eventually(kLong, [&] { return record_lines(*running).size() > lines + 1; })) << running->err();
  hosts_->cut(2);
  EXPECT_EQ(running->wait(30), 3) << running->err();
  hosts_->mend(2);
  EXPECT_TRUE(nothing_left());
}

TEST_F(Hosts, ARunGoesOnAfterARestart) {
  const std::string checkpoints = folder_.file("checkpoints");
  const std::vector<std::string> pairs{"train.checkpoint=" + checkpoints, "train.checkpoint_every=20"};
  const auto first = start(pairs);
  ASSERT_EQ(first->wait(kLong), 0) << first->err();
  std::vector<std::string> more = pairs;
  more.insert(more.end(), {"train.steps=90", "train.resume=auto"});
  const auto second = start(more);
  ASSERT_EQ(second->wait(kLong), 0) << second->err();
  EXPECT_EQ(hash_of(*second), own({"train.steps=90"}));
}

TEST_F(Hosts, AnyProgramMayRunThere) {
  Running running(COHAUL_BIN "/cohaul", {"launch", "--ssh", hosts_->ssh(), "--hosts", "node1:2,node2", "--servers", "1",
                                         "--", COHAUL_BIN "/job_member"});
  EXPECT_EQ(running.wait(kLong), 0) << running.err();
  Running missing(COHAUL_BIN "/cohaul",
                  {"launch", "--ssh", hosts_->ssh(), "--hosts", "node1", "--", "/no/such/program"});
  expect_failure(missing, 2, {"host node1: cannot start '/no/such/program'"}, kLong);
}

TEST_F(Hosts, SayNothingThatTheCableCouldTell) {
  const std::string saved = folder_.file("saved");
  const std::vector<std::string> pairs{"train.save=" + saved, "train.steps=20"};
  {
    Capture cable(hosts_->port(1));
    const auto running = start(pairs, {}, "node1,node2");
    ASSERT_EQ(running->wait(kLong), 0) << running->err();
    const std::string& bytes = cable.bytes();
    EXPECT_GT(bytes.size(), 10'000u);
    EXPECT_EQ(pieces_in(bytes, read_file(saved)), 0u);
    for (const char* words : {"PRIVATE KEY", "fashion-mnist", "softmax", "all_reduce", "COHAUL_"})
      EXPECT_EQ(bytes.find(words), std::string::npos) << words;
  }
  // The same in plain text, by tasks that know each other's place, shows that it would be seen.
  Capture cable(hosts_->port(1));
  std::vector<std::unique_ptr<Running>> tasks;
  for (int rank = 0; rank < 2; ++rank) {
    const Arguments words =
        hosts_->as_task(rank + 1, rank, 2) + Arguments{COHAUL_BIN "/cohaul", "train", job_, "--quiet"};
    tasks.push_back(std::make_unique<Running>("/usr/bin/nsenter", words + set(pairs) + set({"job.plaintext=true"})));
  }
  for (const auto& task : tasks) ASSERT_EQ(task->wait(kLong), 0) << task->err();
  const std::string& bytes = cable.bytes();
  EXPECT_GT(pieces_in(bytes, read_file(saved)), 5u);
  EXPECT_NE(bytes.find("all_reduce"), std::string::npos);
}

/// A process that knows the secret but comes too late, and one that counts other tasks, are both refused, and the job goes on.
TEST_F(Hosts, WhoClaimsATakenRankIsRefused) {
  const std::string secret = folder_.file("secret");
  write_file(secret, std::string(64, 's'));
  fs::permissions(secret, fs::perms::owner_read);
  const auto task = [&](int host, int rank, int tasks) {
    return std::make_unique<Running>(
        "/usr/bin/nsenter", hosts_->as_task(host, rank, tasks) +
                                Arguments{COHAUL_BIN "/cohaul", "train", job_, "--quiet", "--record", "{}/record"} +
                                set({"train.steps=10000000", "train.log_every=1", "job.secret=" + secret}));
  };
  const auto first = task(1, 0, 2), second = task(2, 1, 2);
  const auto steps = [&] { return record_lines(*first).size(); };
  ASSERT_TRUE(eventually(kLong, [&] { return steps() > 5; })) << first->err();
  expect_failure(*task(2, 1, 2), 2, {"worker 1 has joined already (pid ", "give every process its own rank"});
  expect_failure(*task(2, 2, 3), 2, {"worker 2: counts 3 workers in the job, worker 0 counts 2"});
  const std::size_t before = steps();
  EXPECT_TRUE(eventually(kSoon, [&] { return steps() > before + 5; })) << first->err();
  ::kill(second->pid(), SIGINT);
  EXPECT_NE(first->wait(kSoon).value_or(0), 0);
  EXPECT_TRUE(nothing_left());
}

/// Training needs nothing that is written to a host's disk: neither temporary files nor logs.
TEST_F(Hosts, MayHaveNoRoomLeft) {
  const std::string enter = folder_.file("enter"), shell = folder_.file("shell"), logs = folder_.file("logs"),
                    full_there = folder_.file("full");
  hosts_->write_enter(enter);
  fs::create_directory(logs);
  const std::string hash_here = own();
  for (const std::string& full : {std::string("/tmp"), std::string("/dev/shm"), logs}) {
    // Host 2 has a disk of its own there, which is full. It still sees this test's folder, which is in /tmp.
    SshHosts::write_full(full_there, folder_.path(), {full});
    write_file(shell, "#!/bin/sh\nhost=$1\nshift\n[ $host = node2 ] || exec " + enter + " $host sh -c \"$*\"\nexec " +
                          enter + " node2 " + full_there + " sh -c \"$*\"\n");
    fs::permissions(shell, fs::perms::owner_all);
    Running running(COHAUL_BIN "/cohaul",
                    Arguments{"train", job_, "--record", "{}/record", "--ssh", shell, "--hosts", "node1:2,node2:2"} +
                        set({"train.steps=60", "job.logs=" + logs}));
    EXPECT_EQ(running.wait(kLong), 0) << full << ": " << running.err();
    EXPECT_NE(hash_here, "");
    EXPECT_EQ(hash_of(running), hash_here) << full;
    EXPECT_TRUE(nothing_left());
  }
}

TEST_F(Hosts, AreMeasuredPairByPair) {
  Running running(COHAUL_BIN "/cohaul",
                  {"check-hosts", "node1,node2", "--ssh", hosts_->ssh(), "--seconds", "0.1", "--json"});
  ASSERT_EQ(running.wait(kLong), 0) << running.err();
  const nlohmann::json pairs = nlohmann::json::parse(running.out());
  ASSERT_EQ(pairs.size(), 1u);
  EXPECT_EQ(pairs[0].at("from"), "node1");
  EXPECT_EQ(pairs[0].at("to"), "node2");
  EXPECT_EQ(pairs[0].at("by"), "TLS");
  for (const char* figure : {"round_trip_us", "there_mb_per_s", "back_mb_per_s"})
    EXPECT_GT(pairs[0].at(figure), 0) << figure;
}

/// The result does not depend on how workers are spread over hosts, nor on which of them share memory.
TEST(Shapes, OfHostsGiveTheBitsOfOne) {
  if (const std::string why = why_no_hosts(); !why.empty()) GTEST_SKIP() << why;
  const SshHosts hosts(4);
  const TemporaryFolder folder = fresh_folder();
  const std::string job = write_softmax_job(folder.path(), 600);
  const Arguments pairs = set({"train.steps=60", "train.batch=12", "train.slices=12"});
  const std::string alone = train(job, Arguments{"--workers", "1"} + pairs).hash();
  EXPECT_NE(alone, "");
  for (const char* shape : {"node1:1,node2:2,node3:3", "node1,node2,node3,node4"}) {
    Running running(COHAUL_BIN "/cohaul",
                    Arguments{"train", job, "--record", "{}/record", "--ssh", hosts.ssh(), "--hosts", shape} + pairs);
    EXPECT_EQ(running.wait(kLong), 0) << running.err();
    EXPECT_EQ(hash_of(running), alone) << shape;
  }
}

}  // namespace
}  // namespace cohaul::tests
