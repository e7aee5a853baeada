#include "cohaul/job/memory_limit.h"

#include <gtest/gtest.h>

#include "cohaul/base/testing/planted_files.h"

namespace cohaul::job {
namespace {

bool has(const std::string& text, const std::string& what) { return text.find(what) != std::string::npos; }

TEST(MemoryLimit, OfTheSecondVersionIsTheLeastOfAllAbove) {
  PlantedFiles k;
  k.write("proc/self/cgroup", "0::/a/b\n");
  k.write("sys/fs/cgroup/a/b/memory.max", "max\n");
  k.write("sys/fs/cgroup/a/b/memory.events", "low 0\noom 1\noom_kill 3\noom_group_kill 0\n");
  k.write("sys/fs/cgroup/a/memory.max", "536870912\n");
  MemoryLimit limit(k.path());
  EXPECT_EQ(limit.bytes(), 512 << 20);
  EXPECT_EQ(limit.killed(), "");
  k.write("sys/fs/cgroup/a/b/memory.events", "low 0\noom 1\noom_kill 4\noom_group_kill 0\n");
  const std::string why = limit.killed();
  EXPECT_TRUE(has(why, "/sys/fs/cgroup/a/memory.max allows 512 MiB")) << why;
  EXPECT_EQ(limit.killed(), "");
}

TEST(MemoryLimit, OfTheFirstVersion) {
  PlantedFiles k;
  k.write("proc/self/cgroup", "9:name=systemd:/\n4:memory:/a\n0::/\n");
  k.write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1048576\n");
  k.write("sys/fs/cgroup/memory/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n");
  k.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  MemoryLimit limit(k.path());
  EXPECT_EQ(limit.bytes(), 1 << 20);
  k.write("sys/fs/cgroup/memory/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
  EXPECT_TRUE(has(limit.killed(), "allows 1 MiB"));
}

TEST(MemoryLimit, OfAContainerIsThatOfTheGroupsItSees) {
  PlantedFiles k;
  k.write("proc/self/cgroup", "0::/of/the/host\n");
  k.write("sys/fs/cgroup/memory.max", "2097152\n");
  k.write("sys/fs/cgroup/memory.events", "oom_kill 0\n");
  EXPECT_EQ(MemoryLimit(k.path()).bytes(), 2 << 20);
}

TEST(MemoryLimit, WithoutOneIsNone) {
  PlantedFiles k;
  MemoryLimit limit(k.path());
  EXPECT_EQ(limit.bytes(), 0);
  EXPECT_EQ(limit.killed(), "");
  k.write("proc/self/cgroup", "0::/\n");
  k.write("sys/fs/cgroup/memory.events", "oom_kill 0\n");
  MemoryLimit machine(k.path());
  k.write("sys/fs/cgroup/memory.events", "oom_kill 1\n");
  EXPECT_TRUE(has(machine.killed(), "the machine had no memory left"));
}

}  // namespace
}  // namespace cohaul::job
