// Tests of two hosts with two workers each: the results have the bits of one host, and each byte crosses the cable once.

#include <gtest/gtest.h>

#include <memory>

#include "ssh_hosts.h"
#include "train_runs.h"

namespace cohaul::tests {
namespace {

constexpr double kLong = 120;
constexpr int kSteps = 12;
constexpr double kParameterBytes = 4.0 * (784 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 * 10 + 10);

/// Trains with worker r on host places[r]. Returns the hash of the parameters.
std::string train_on(const SshHosts& hosts, const std::vector<int>& places, const Arguments& arguments) {
  std::vector<std::unique_ptr<Running>> runs;
  const Arguments train{COHAUL_BIN "/cohaul", "train", COHAUL_JOBS "/mlp.toml", "--record", "{}/record", "--quiet"};
  for (std::size_t r = 0; r < places.size(); ++r)
    runs.push_back(std::make_unique<Running>(
        "/usr/bin/nsenter",
        hosts.as_task(places[r], static_cast<int>(r), static_cast<int>(places.size())) + train + arguments));
  for (const auto& run : runs) EXPECT_EQ(run->wait(kLong), 0) << run->err();
  return hash_of(*runs.front());
}

/// A host sends the half of the gradients that the other host owns, and the half of the new parameters that it owns itself. If one host has all
/// servers, all gradients go to it and all parameters come back.
TEST(TwoLevels, GiveTheBitsOfOneAndSendEachByteOnce) {
  if (!why_no_hosts().empty()) GTEST_SKIP() << why_no_hosts();
  const SshHosts hosts(2);
  const Arguments run = set({"train.steps=" + std::to_string(kSteps), "job.threads=1"});
  const std::string one_host = train(COHAUL_JOBS "/mlp.toml", Arguments{"--workers", "4", "--quiet"} + run).hash();
  ASSERT_NE(one_host, "");
  const Arguments plain = run + set({"job.plaintext=true"});
  const Arguments servers =
      plain + set({"strategy.name=parameter_server", "strategy.servers=2"});  // the servers are the last two tasks
  for (const auto& [places, arguments] :
       {std::pair(std::vector{1, 1, 2, 2}, plain), std::pair(std::vector{1, 2, 1, 2}, plain),
        std::pair(std::vector{1, 1, 2, 2, 1, 2}, servers), std::pair(std::vector{1, 1, 2, 2, 2, 2}, servers),
        std::pair(std::vector{1, 2, 1, 2, 2, 1}, servers)}) {
    SCOPED_TRACE(arguments.back() + ", hosts " + testing::PrintToString(places));
    const double before[] = {hosts.sent(1), hosts.sent(2)};
    EXPECT_EQ(train_on(hosts, places, arguments), one_host);
    const double least[] = {(kSteps + 1) * kParameterBytes,
                            kSteps * kParameterBytes};  // worker 0's parameters are sent at the start
    for (int h : {0, 1}) {
      const double sent = hosts.sent(h + 1) - before[h];
      EXPECT_GT(sent, least[h]);
      EXPECT_LT(sent, 1.1 * least[h]);
    }
  }
}

}  // namespace
}  // namespace cohaul::tests
