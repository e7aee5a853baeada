#include "cohaul/job/cpu_claims.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <unistd.h>

#include <set>

#include "cohaul/base/testing/planted_files.h"

namespace cohaul::job {
namespace {

using Dealt = std::vector<std::vector<int>>;

/// Two nodes of two cores of two CPUs, numbered as Linux does: the second CPU of each core comes after the first of all.
std::vector<Cpu> two_nodes() {
  std::vector<Cpu> out;
  for (int i = 0; i < 8; ++i) out.push_back({.number = i, .node = i / 2 % 2, .core = i % 4});
  return out;
}

TEST(DealCpus, GivesEachWorkerCoresOfItsOwnOnOneNode) {
  EXPECT_EQ(deal_cpus(two_nodes(), 4, 1), (Dealt{{0}, {1}, {4}, {5}}));
  EXPECT_EQ(deal_cpus(two_nodes(), 2, 2), (Dealt{{0, 1}, {4, 5}}));
  EXPECT_EQ(deal_cpus(two_nodes(), 2, 3), (Dealt{{0, 1, 4}, {2, 3, 6}}));
  EXPECT_EQ(deal_cpus(two_nodes(), 2, 4), (Dealt{{0, 1, 4, 5}, {2, 3, 6, 7}}));
  EXPECT_EQ(deal_cpus(two_nodes(), 3, 3), Dealt{});
  EXPECT_EQ(deal_cpus({}, 1, 1), Dealt{});
}

RC_GTEST_PROP(DealCpus, GivesWhatIsWantedAndNoCpuTwiceOrNothing, ()) {
  std::vector<Cpu> host;
  const int count = *rc::gen::inRange(0, 40);
  for (int i = 0; i < count; ++i)
    host.push_back({.number = i, .node = *rc::gen::inRange(0, 3), .core = *rc::gen::inRange(0, 20)});
  const int workers = *rc::gen::inRange(1, 10), threads = *rc::gen::inRange(1, 6);
  const Dealt dealt = deal_cpus(host, workers, threads);
  RC_ASSERT(dealt.empty() == (count < workers * threads));
  std::set<int> all;
  for (const std::vector<int>& own : dealt) {
    RC_ASSERT(static_cast<int>(own.size()) == threads);
    all.insert(own.begin(), own.end());
  }
  RC_ASSERT(dealt.empty() || static_cast<int>(all.size()) == workers * threads);
}

/// A CPU in the folder sys/, as the kernel shows it.
void plant(PlantedFiles& root, const Cpu& cpu, int package, int core) {
  const std::string own = "sys/devices/system/cpu/cpu" + std::to_string(cpu.number) + "/";
  root.write(own + "topology/physical_package_id", std::to_string(package) + "\n");
  root.write(own + "topology/core_id", std::to_string(core) + "\n");
  root.write(own + "node" + std::to_string(cpu.node) + "/cpulist", "");
}

TEST(HostCpus, AreThoseOnlineWithTheirCoresAndNodes) {
  PlantedFiles root;
  const std::vector<Cpu> cpus{{0, 0, 0}, {1, 0, 1}, {2, 0, 0}, {5, 1, 2}};
  root.write("sys/devices/system/cpu/online", "0-2,5\n");
  plant(root, cpus[0], 0, 0), plant(root, cpus[1], 0, 7), plant(root, cpus[2], 0, 0), plant(root, cpus[3], 1, 0);
  EXPECT_EQ(host_cpus(root.file("sys")), cpus);
  EXPECT_EQ(host_cpus(root.file("nothing")), std::vector<Cpu>{});
  EXPECT_EQ(host_cpus().size(), static_cast<std::size_t>(::sysconf(_SC_NPROCESSORS_ONLN)));
}

/// CPUs that this host has not, and no other process of these tests has either.
std::vector<Cpu> made_up(int count) {
  std::vector<Cpu> out;
  for (int i = 0; i < count; ++i) out.push_back({.number = 100'000 + ::getpid() * 10 + i, .node = 0, .core = i});
  return out;
}

TEST(Claims, AreOfOneLauncherUntilItEnds) {
  const std::vector<Cpu> host = made_up(4);
  std::optional<CpuClaims> first = CpuClaims::take(host, 2, 1, 0);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->cpus(), (Dealt{{host[0].number}, {host[1].number}}));
  std::optional<CpuClaims> second = CpuClaims::take(host, 2, 1, 0);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->cpus(), (Dealt{{host[2].number}, {host[3].number}}));
  EXPECT_FALSE(CpuClaims::take(host, 1, 1, 0));
  first.reset();
  EXPECT_FALSE(CpuClaims::take(host, 3, 1, 0));
  EXPECT_TRUE(CpuClaims::take(host, 2, 1, 0)) << "a claim that failed holds nothing";
}

TEST(Claims, LeaveRoomForServers) {
  const std::vector<Cpu> host = made_up(4);
  EXPECT_FALSE(CpuClaims::take(host, 2, 2, 1));
  const std::optional<CpuClaims> claims = CpuClaims::take(host, 3, 1, 1);
  ASSERT_TRUE(claims);
  EXPECT_EQ(claims->cpus().back(), std::vector<int>{host[2].number});
}

TEST(Claims, AreNotForOneWorkerNorForMoreThanCpus) {
  EXPECT_FALSE(claim_cpus(1, 1, 0));
  EXPECT_FALSE(claim_cpus(static_cast<int>(host_cpus().size()) + 1, 1, 0));
}

}  // namespace
}  // namespace cohaul::job
