#include "cohaul/job/host_proof.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

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
  int said[2];
  ASSERT_EQ(::pipe(said), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWNET) != 0) ::_exit(77);
    const std::string id = HostProof::of(self).host_id();
    ::_exit(::write(said[1], id.data(), id.size()) == 32 ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "the system allows no network namespaces";
  char id[33] = {};
  EXPECT_EQ(::read(said[0], id, 32), 32);
  EXPECT_NE(std::string(id), first.host_id());
}

}  // namespace
}  // namespace cohaul::job
