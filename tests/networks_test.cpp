// The networks between the hosts of a job: several of which one is common, IPv6 alone, and names that are known late or never. The hosts are network
// namespaces of this machine.

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>

#include "broken_files.h"
#include "ssh_hosts.h"
#include "train_runs.h"

namespace cohaul::tests {
namespace {

namespace fs = std::filesystem;

constexpr double kLong = 60;
constexpr int kHosts = 2;
using Runs = std::vector<std::unique_ptr<Running>>;

class Networks : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = why_no_hosts(); !why.empty()) GTEST_SKIP() << why;
    hosts_ = std::make_unique<SshHosts>(kHosts);
    job_ = write_softmax_job(folder_.path(), 600);
    hosts_->write_enter(enter_);
    write_file(shell_, "#!/bin/sh\nhost=$1\nshift\nexec " + enter_ + " $host sh -c \"$*\"\n");
    fs::permissions(shell_, fs::perms::owner_all);
    write_file(secret_, std::string(64, 's'));
    fs::permissions(secret_, fs::perms::owner_read);
  }
  /// On both hosts.
  void on_each(const std::string& command) const {
    for (int host = 1; host <= kHosts; ++host) hosts_->on(host, command);
  }
  /// Four workers as tasks of an engine: the first on host 1, the others on host 2. They meet at `meet_at`.
  Runs start_tasks(const std::string& meet_at, const std::vector<std::string>& pairs = {}) const {
    Runs out;
    for (int rank = 0; rank < 4; ++rank)
      out.push_back(std::make_unique<Running>(
          enter_, Arguments{rank == 0 ? "1" : "2", "/usr/bin/env", "RANK=" + std::to_string(rank), "WORLD_SIZE=4",
                            "MASTER_ADDR=" + meet_at, "MASTER_PORT=29511", COHAUL_BIN "/cohaul", "train", job_,
                            "--record", "{}/record", "--quiet"} +
                      set({"train.steps=60", "job.secret=" + secret_}) + set(pairs)));
    return out;
  }
  /// The same four, started by Cohaul.
  std::unique_ptr<Running> start_over_ssh(const std::vector<std::string>& pairs = {}) const {
    return std::make_unique<Running>(COHAUL_BIN "/cohaul", Arguments{"train", job_, "--record", "{}/record", "--ssh",
                                                                     shell_, "--hosts", "node1:1,node2:3"} +
                                                               set({"train.steps=60"}) + set(pairs));
  }
  static void expect_bits(const Runs& runs, const std::string& of_one_host) {
    for (const auto& run : runs) EXPECT_EQ(run->wait(kLong), 0) << run->err();
    EXPECT_EQ(hash_of(*runs.front()), of_one_host);
  }
  void expect_bits_over_ssh(const std::string& of_one_host, const std::vector<std::string>& pairs = {}) const {
    const auto running = start_over_ssh(pairs);
    EXPECT_EQ(running->wait(kLong), 0) << running->err();
    EXPECT_EQ(hash_of(*running), of_one_host);
  }
  /// What one host gives.
  std::string own() const {
    const std::string hash = train(job_, Arguments{"--workers", "4"} + set({"train.steps=60"})).hash();
    EXPECT_NE(hash, "");
    return hash;
  }
  TemporaryFolder folder_ = fresh_folder();
  std::unique_ptr<SshHosts> hosts_;
  std::string job_, enter_ = folder_.file("enter"), shell_ = folder_.file("shell"), secret_ = folder_.file("secret");
};

/// As with Docker's bridge: each host has 172.17.0.1 for itself, and nobody else can be reached there.
TEST_F(Networks, AnAddressThatEachHostHasForItselfIsPassedOver) {
  on_each(
      "ip link add own0 type veth peer own1; ip link set own0 up; ip link set own1 up; ip addr add 172.17.0.1/16 dev "
      "own0");
  on_each("ip route replace default via 172.17.0.9 dev own0");  // so it is the first that they tell
  const std::string hash = own();
  expect_bits(start_tasks(hosts_->address(1)), hash);
  expect_bits_over_ssh(hash);
  // Where all use the same ports, a process reaches itself there, or a fellow.
  const std::vector<std::string> ports{"job.ports=20000-20100"};
  expect_bits(start_tasks(hosts_->address(1), ports), hash);
  expect_bits_over_ssh(hash, ports);
}

/// Each host has a network of its own, where packets of the others vanish.
TEST_F(Networks, ThatAreNotCommonArePassedOver) {
  for (int host = 1; host <= kHosts; ++host)
    hosts_->on(
        host, "ip link add own0 type veth peer own1; ip link set own0 up; ip link set own1 up; ip addr add 172.2" +
                  std::to_string(host) + ".0.1/16 dev own0; ip route replace default via 172.2" + std::to_string(host) +
                  ".0.9 dev own0; ip neigh add 172.2" + std::to_string(host) +
                  ".0.9 lladdr 02:00:00:00:00:09 dev own0");
  const std::string hash = own();
  expect_bits(start_tasks(hosts_->address(1)), hash);
  expect_bits_over_ssh(hash);
  // job.address names the interface of the common one.
  expect_bits(start_tasks(hosts_->address(1), {"job.address=eth0"}), hash);
  expect_bits_over_ssh(hash, {"job.address=eth0"});
}

/// Two networks are common. Unless job.address says which, it is the one in which worker 0 is found.
TEST_F(Networks, TheNamedInterfaceIsTheOneThatIsUsed) {
  hosts_->on(1, "ip link add eth1 type veth peer name eth1 netns " + hosts_->space(2));
  for (int host = 1; host <= kHosts; ++host)
    hosts_->on(host, "ip addr add 172.30.0." + std::to_string(host) + "/24 dev eth1; ip link set eth1 up");
  for (const bool named : {false, true}) {
    const Runs runs = start_tasks(hosts_->address(1), {named ? "job.address=eth1" : "job.address=127.0.0.1",
                                                       "train.steps=10000000", "train.log_every=1"});
    ASSERT_TRUE(eventually(kLong, [&] { return has_stepped(*runs.front()); })) << runs.front()->err();
    const std::string there = folder_.file("connections");
    hosts_->on(2, "ss -Htn state established >" + there);
    const std::string connections = read_file(there);
    EXPECT_EQ(connections.find("172.30.0.1:") != std::string::npos, named) << connections;
  }
}

class Ipv6 : public Networks {
 protected:
  /// Takes the IPv4 addresses from all hosts but for loopback's.
  void SetUp() override {
    Networks::SetUp();
    if (IsSkipped()) return;
    if (!fs::exists("/proc/sys/net/ipv6")) GTEST_SKIP() << "the system has no IPv6";
    on_each("ip -4 addr flush dev eth0");
    // An address is not to be used before it is known to be nobody else's.
    on_each(
        "for i in $(seq 100); do [ -n \"$(ip -6 addr show dev eth0 scope link -tentative 2>/dev/null)\" ] && exit 0; "
        "sleep 0.1; done; exit 1");
  }
  void give_addresses() const {
    for (int host = 1; host <= kHosts; ++host) hosts_->on(host, "ip addr add " + address(host) + "/64 dev eth0 nodad");
  }
  static std::string address(int host) { return "fd00:c0::" + std::to_string(host); }
};

TEST_F(Ipv6, AloneIsEnough) {
  give_addresses();
  const std::string hash = own();
  expect_bits(start_tasks(address(1)), hash);
  expect_bits_over_ssh(hash);
  write_file(enter_ + ".names", "127.0.0.1 localhost\n" + address(1) + " node1\n" + address(2) + " node2\n");
  expect_bits(start_tasks("node1"), hash);
}

/// They hold on one link, and are named with the interface to it, which is the same on all hosts.
TEST_F(Ipv6, AddressesOfTheLinkAreEnough) {
  const std::string hash = own(), said = folder_.file("address");
  hosts_->on(1,
             "ip -6 -br addr show dev eth0 scope link 2>/dev/null | tr -s \" \" | cut -d\" \" -f3 | cut -d/ -f1 | tr "
             "-d \"\\n\" >" +
                 said);
  ASSERT_TRUE(read_file(said).starts_with("fe80::")) << read_file(said);
  expect_bits(start_tasks(read_file(said) + "%eth0"), hash);
  expect_bits_over_ssh(hash);
}

class Names : public Networks {
 protected:
  /// Nobody answers questions for names: a host knows those of its file.
  void SetUp() override {
    Networks::SetUp();
    if (IsSkipped()) return;
    on_each("ip route del default");
    known_ = read_file(enter_ + ".names");
    write_file(enter_ + ".names", "127.0.0.1 localhost\n");
  }
  std::string known_;
};

TEST_F(Names, MayBeKnownSomeSecondsLate) {
  const std::string hash = own();
  const Runs runs = start_tasks("node1");
  EXPECT_EQ(runs.front()->wait(3), std::nullopt) << runs.front()->err();
  for (const auto& run : runs) EXPECT_EQ(run->err(), "");
  write_file(enter_ + ".names", known_);
  expect_bits(runs, hash);
}

TEST_F(Names, ThatNobodyEverKnowsAreNamed) {
  const Runs runs = start_tasks("node1", {"job.join_timeout_s=2"});
  for (const auto& run : runs) {
    EXPECT_EQ(run->wait(12), 2);
    EXPECT_NE(run->err().find("unknown host 'node1'"), std::string::npos) << run->err();
  }
  EXPECT_GE(runs.front()->seconds(), 2);
}

/// The resolver would ask the server for 60 seconds.
TEST_F(Names, AreNotWaitedForLongerWhereTheirServerIsSilent) {
  const std::string server = hosts_->address(99);
  on_each("ip neigh add " + server + " lladdr 02:00:00:00:00:09 dev eth0");  // packets to it vanish
  write_file(enter_ + ".resolver", "nameserver " + server + "\noptions timeout:30 attempts:2\n");
  const Runs runs = start_tasks("node1", {"job.join_timeout_s=2"});
  for (const auto& run : runs) {
    EXPECT_EQ(run->wait(12), 2);
    EXPECT_NE(run->err().find("unknown host 'node1': no server of names has answered in time"), std::string::npos)
        << run->err();
  }
  EXPECT_GE(runs.front()->seconds(), 2);
}

}  // namespace
}  // namespace cohaul::tests
