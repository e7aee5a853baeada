#include "cohaul/job/process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cohaul::job {
namespace {

TEST(ProcessTest, OnlyTheOneThatWasMeantGoesOn) {
  const pid_t child = ::fork();
  if (child == 0) {
    for (;;) ::pause();
  }
  const std::string key = process_key(child);
  EXPECT_NE(key, "");
  const std::string another = key + "0";       // a process that had this number at another time
  EXPECT_FALSE(continue_stopped(child, key));  // it is not stopped
  ::kill(child, SIGSTOP);
  while (!is_stopped(child)) ::usleep(1000);
  EXPECT_FALSE(continue_stopped(child, another));
  EXPECT_FALSE(continue_stopped(child, ""));
  EXPECT_TRUE(is_stopped(child));
  EXPECT_TRUE(continue_stopped(child, key));
  while (is_stopped(child)) ::usleep(1000);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(process_key(child), "");
}

}  // namespace
}  // namespace cohaul::job
