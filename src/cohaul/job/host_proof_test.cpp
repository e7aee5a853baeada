#include "cohaul/job/host_proof.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <memory>
#include <thread>
#include <vector>

#include "cohaul/job/job_id.h"

namespace cohaul::job {
namespace {

transport::Identity of_job(std::uint64_t token) {
  transport::Identity out;
  out.token = token;
  out.job = job_id(token);
  return out;
}

TEST(HostProof, ProcessesOfOneHostFindTheSameId) {
  const transport::Identity self = of_job(random_bits());
  const HostProof first = HostProof::of(self);
  EXPECT_EQ(first.host_id().size(), 32u);
  EXPECT_EQ(HostProof::of(self).host_id(), first.host_id());
  std::vector<std::string> ids(8);
  std::vector<std::thread> all;
  for (std::string& id : ids) all.emplace_back([&] { id = HostProof::of(self).host_id(); });
  for (std::thread& t : all) t.join();
  for (const std::string& id : ids) EXPECT_EQ(id, first.host_id());
}

TEST(HostProof, ProcessesThatStartTogetherFindTheSameId) {
  for (int round = 0; round < 50; ++round) {
    const transport::Identity self = of_job(random_bits());
    std::vector<std::unique_ptr<HostProof>> all(6);
    std::vector<std::thread> threads;
    for (auto& one : all) threads.emplace_back([&] { one = std::make_unique<HostProof>(HostProof::of(self)); });
    for (std::thread& t : threads) t.join();
    for (const auto& one : all) EXPECT_EQ(one->host_id(), all.front()->host_id()) << "round " << round;
  }
}

TEST(HostProof, AnotherJobHasAnotherAndSoHasWhoDoesNotKnowTheToken) {
  transport::Identity self = of_job(random_bits());
  const HostProof first = HostProof::of(self);
  EXPECT_NE(HostProof::of(of_job(random_bits())).host_id(), first.host_id());
  self.token ^= 1;
  EXPECT_NE(HostProof::of(self).host_id(), first.host_id());
}

TEST(HostProof, AnotherNetworkNamespaceIsAnotherHost) {
  const transport::Identity self = of_job(random_bits());
  const HostProof first = HostProof::of(self);
  std::string there;
  std::thread([&] {  // a namespace is a thread's own, and that of the threads which it starts
    if (::unshare(CLONE_NEWNET) == 0) there = HostProof::of(self).host_id();
  })
      .join();
  if (there.empty()) GTEST_SKIP() << "the system allows no network namespaces";
  EXPECT_NE(there, first.host_id());
}

}  // namespace
}  // namespace cohaul::job
