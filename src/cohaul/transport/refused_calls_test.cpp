// Kernels before 5.11 do not know epoll_pwait2 (ENOSYS), and containers of that time refuse it (EPERM).

#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <cerrno>
#include <vector>

#include "cohaul/base/testing/refused_calls.h"
#include "cohaul/transport/test_pairs.h"

namespace cohaul::transport {
namespace {

/// A frame that is waited for while asleep arrives, and what is waited for in vain ends at its deadline.
bool a_pair_works(const char* form) {
  const std::unique_ptr<Pair> pair = make_pair_of(form);
  Poller& poller = *pair->server.poller;
  const std::vector<std::byte> body(100);
  for (int i = 0; i < 10; ++i) {
    if (!pair->client.channel->send({.kind = 7, .body = body}).ok() || !pair->client.channel->flush().ok())
      return false;
    const Time deadline = steady_clock().now() + 10 * kSecond;
    for (bool come = false; !come;) {
      if (steady_clock().now() > deadline || !poller.wait(deadline).ok()) return false;
      const auto frame = pair->server.channel->receive();
      if (!frame.ok()) return false;
      come = frame->has_value();
    }
  }
  const Time begun = steady_clock().now(), deadline = begun + 300 * kMicrosecond;
  if (!poller.wait(deadline).ok()) return false;
  const Time ended = steady_clock().now();
  return ended >= deadline && ended < begun + 5 * kSecond;
}

TEST(RefusedCalls, APollerWorksWithoutEpollPwait2) {
  if (!testing_tools::can_refuse_calls()) GTEST_SKIP() << "the system has no seccomp";
  for (const int error : {ENOSYS, EPERM}) {
    EXPECT_TRUE(testing_tools::holds_without({SYS_epoll_pwait2}, error, [] { return a_pair_works("arena"); })) << error;
    EXPECT_TRUE(testing_tools::holds_without({SYS_epoll_pwait2}, error, [] { return a_pair_works("tcp"); })) << error;
  }
}

}  // namespace
}  // namespace cohaul::transport
