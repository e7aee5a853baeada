// Two hosts with two workers each, as network namespaces with a cable between them: the bits of one host, and what crosses the cable.

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <sstream>

#include "train_runs.h"

namespace cohaul::tests {
namespace {

namespace fs = std::filesystem;

constexpr double kLong = 120, kSoon = 10;
constexpr int kSteps = 12;
constexpr double kParameterBytes = 4.0 * (784 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 * 10 + 10);

/// A namespace lives as long as the process that sleeps in it.
class TwoLevels : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* tool : {"/usr/bin/unshare", "/usr/bin/nsenter", "/usr/sbin/ip"})
      if (!fs::exists(tool)) GTEST_SKIP() << tool << " is not installed";
    if (::geteuid() != 0) GTEST_SKIP() << "network namespaces need root";
    for (auto& host : hosts_) host = std::make_unique<Running>("/usr/bin/unshare", Arguments{"-n", "sleep", "1000"});
    const std::string own = "/proc/self/ns/net";
    for (const auto& host : hosts_) {
      const std::string its = "/proc/" + std::to_string(host->pid()) + "/ns/net";
      if (!eventually(kSoon, [&] { return fs::read_symlink(its) != fs::read_symlink(own); }))
        GTEST_SKIP() << "no network namespace can be made here: " << host->err();
    }
    const std::string other = std::to_string(hosts_[1]->pid());
    ip(0, {"link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", other});
    for (int h : {0, 1}) {
      ip(h, {"addr", "add", "10.77.0." + std::to_string(h + 1) + "/24", "dev", "cable"});
      ip(h, {"link", "set", "cable", "up"});
      ip(h, {"link", "set", "lo", "up"});
    }
  }
  Arguments inside(int host, const Arguments& command) const {
    return Arguments{"-t", std::to_string(hosts_[host]->pid()), "-n"} + command;
  }
  void ip(int host, const Arguments& arguments) const {
    Running run("/usr/bin/nsenter", inside(host, Arguments{"/usr/sbin/ip"} + arguments));
    ASSERT_EQ(run.wait(kSoon), 0) << run.err();
  }
  /// That this host has sent through the cable.
  double sent(int host) const {
    std::istringstream lines(read_file("/proc/" + std::to_string(hosts_[host]->pid()) + "/net/dev"));
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      std::string name;
      double fields[9] = {};
      words >> name;
      for (double& f : fields) words >> f;
      if (name == "cable:") return fields[8];  // after eight of what it has received
    }
    ADD_FAILURE() << "there is no cable";
    return 0;
  }
  /// Worker r on places[r].
  void train_on(const std::vector<int>& places, const Arguments& arguments) {
    std::vector<std::unique_ptr<Running>> runs;
    for (std::size_t r = 0; r < places.size(); ++r) {
      const Arguments variables{"/usr/bin/env", "RANK=" + std::to_string(r),
                                "WORLD_SIZE=" + std::to_string(places.size()), "MASTER_ADDR=10.77.0.1",
                                "MASTER_PORT=29500"};
      const Arguments train{COHAUL_BIN "/cohaul", "train", COHAUL_JOBS "/mlp.toml", "--record", "{}/record", "--quiet"};
      runs.push_back(std::make_unique<Running>("/usr/bin/nsenter", inside(places[r], variables + train + arguments)));
    }
    for (const auto& run : runs) ASSERT_EQ(run->wait(kLong), 0) << run->err();
    for (const auto& line : json_lines(read_file(runs[0]->folder() + "/record")))
      if (line.value("record", "") == "result") hash_ = line.at("parameters_sha256");
  }

  std::unique_ptr<Running> hosts_[2];
  std::string hash_;
};

/// Of gradients and of new parameters, the half that the other host owns goes out, and the half that this one owns.
TEST_F(TwoLevels, GiveTheBitsOfOneAndSendEachByteOnce) {
  const Arguments run = set({"train.steps=" + std::to_string(kSteps), "job.threads=1"});
  const std::string one_host =
      tests::train(COHAUL_JOBS "/mlp.toml", Arguments{"--workers", "4", "--quiet"} + run).hash();
  ASSERT_NE(one_host, "");
  for (const auto& places : {std::vector{0, 0, 1, 1}, std::vector{0, 1, 0, 1}}) {
    const double before[] = {sent(0), sent(1)};
    train_on(places, run + set({"job.plaintext=true"}));
    EXPECT_EQ(hash_, one_host);
    const double least[] = {(kSteps + 1) * kParameterBytes,
                            kSteps * kParameterBytes};  // worker 0's go out at the start
    for (int h : {0, 1}) {
      EXPECT_GT(sent(h) - before[h], least[h]);
      EXPECT_LT(sent(h) - before[h], 1.1 * least[h]);
    }
  }
}

}  // namespace
}  // namespace cohaul::tests
