#include "cohaul/transport/memory_desk.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "cohaul/transport/socket.h"

namespace cohaul::transport {
namespace {

Time in(double s) { return steady_clock().now() + static_cast<Duration>(s * kSecond); }

std::string fresh_name() {
  static int count = 0;
  return "cohaul-desk-test-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
}

Descriptor memory_with(char c) {
  Descriptor memory(::memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(::pwrite(memory.get(), &c, 1, 0), 1);
  return memory;
}

char first_of(const Descriptor& memory) {
  char c = 0;
  EXPECT_EQ(::pread(memory.get(), &c, 1, 0), 1);
  return c;
}

TEST(MemoryDesk, GivesWhatTheTicketIsFor) {
  const auto desk = *MemoryDesk::open(fresh_name());
  desk->offer(1, memory_with('a'));
  desk->offer(2, memory_with('b'));
  EXPECT_EQ(first_of(*ask_desk(desk->name(), 1, in(5))), 'a');
  EXPECT_EQ(first_of(*ask_desk(desk->name(), 2, in(5))), 'b');
  EXPECT_EQ(ask_desk(desk->name(), 3, in(5)).status().code(), Code::peer_lost);
  desk->withdraw(1);
  EXPECT_EQ(ask_desk(desk->name(), 1, in(5)).status().code(), Code::peer_lost);
  EXPECT_EQ(MemoryDesk::open(desk->name()).status().code(), Code::unavailable);
  EXPECT_EQ(ask_desk(fresh_name(), 1, in(5)).status().code(), Code::peer_lost);
}

TEST(MemoryDesk, ManyMayAskAtOnceAndASilentOneHoldsNobodyUp) {
  const auto desk = *MemoryDesk::open(fresh_name());
  desk->offer(7, memory_with('x'));
  const Descriptor silent = *unix_connect(desk->name());
  const Descriptor nonsense = *unix_connect(desk->name());
  EXPECT_EQ(::send(nonsense.get(), "abc", 3, MSG_NOSIGNAL), 3);
  std::vector<std::thread> all;
  for (int i = 0; i < 32; ++i)
    all.emplace_back([&] {
      const auto memory = ask_desk(desk->name(), 7, in(5));
      EXPECT_TRUE(memory.ok()) << memory.status().message();
    });
  for (std::thread& t : all) t.join();
}

/// The kernel would not let it look into this process.
TEST(MemoryDesk, AnotherUserGetsItToo) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  const auto desk = *MemoryDesk::open(fresh_name());
  desk->offer(7, memory_with('x'));
  const pid_t child = ::fork();
  if (child == 0) {
    constexpr uid_t kNobody = 65534;
    if (::setuid(kNobody) != 0) ::_exit(2);
    const auto memory = ask_desk(desk->name(), 7, in(5));
    ::_exit(memory.ok() && first_of(*memory) == 'x' ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 2) GTEST_SKIP() << "this user namespace has no other user";
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace cohaul::transport
