// Tests of limits of the system: a run works within them, or names the limit and the fix; it is never killed without a message.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "broken_files.h"
#include "train_runs.h"

namespace cohaul::tests {
namespace {

constexpr double kLong = 120;

constexpr const char* kJob = R"([model]
name = "softmax"
[data]
name = "idx"
path = "data"
[train]
batch = 16
steps = 40
save = "end.safetensors"
[job]
threads = 1
)";

struct Limit {
  std::string name;
  std::string limit;  // a command of bash before the run
  std::string more{};
  std::vector<std::string> says{};  // what the error says; empty: the run works
};
void PrintTo(const Limit& l, std::ostream* out) { *out << l.name; }

TemporaryFolder make_job() { return job_folder(kJob); }

std::string script(const Limit& l) {
  return l.limit + "; exec " COHAUL_BIN "/cohaul train {}/job.toml --record {}/record " + l.more;
}

class Limited : public testing::TestWithParam<Limit> {};

TEST_P(Limited, ItWorksOrSaysWhy) {
  const Limit& l = GetParam();
  Running running("/bin/bash", {"-c", script(l)}, make_job());
  const auto exit = running.wait(kLong);
  ASSERT_TRUE(exit.has_value()) << "it hangs: " << running.err();
  if (l.says.empty()) {
    EXPECT_EQ(*exit, 0) << running.err();
    EXPECT_TRUE(std::filesystem::exists(running.folder() + "/end.safetensors"));
    return;
  }
  EXPECT_TRUE(*exit > 0 && *exit < 128) << *exit << running.err();
  for (const std::string& s : l.says) EXPECT_NE(running.err().find(s), std::string::npos) << running.err();
}

constexpr const char* kServers = "--set strategy.name=parameter_server --set strategy.servers=2 --workers 2";

INSTANTIATE_TEST_SUITE_P(
    By, Limited,
    testing::Values(Limit{"AddressSpaceAlone", "ulimit -v 8000000"},
                    Limit{"AddressSpaceOfTwo", "ulimit -v 8000000", "--workers 2"},
                    Limit{"AddressSpaceOfServers", "ulimit -v 8000000", kServers},
                    Limit{"AddressSpaceOfTensor", "ulimit -v 8000000", "--workers 2 --set strategy.name=tensor"},
                    Limit{"Descriptors", "ulimit -n 64", "--workers 8"},
                    Limit{"DescriptorsOfServers", "ulimit -n 64", "--workers 8 --set strategy.name=parameter_server"},
                    Limit{"FewDescriptors", "ulimit -n 12", "--workers 8", {"ulimit -n", "to 12", "raise it"}},
                    Limit{"FileSize", "ulimit -f 20000", "--workers 2"},
                    Limit{"SmallFiles", "ulimit -f 1", "--workers 2", {"ulimit -f", "to 1 KiB", "raise it"}}),
    [](const auto& info) { return info.param.name; });

/// A control group of the tests' own, in the first version of the kernel's interface or the second.
class ControlGroup {
 public:
  explicit ControlGroup(const std::string& bytes) {
    for (const auto& [mount, limit] :
         {std::pair("/sys/fs/cgroup/memory/", "/memory.limit_in_bytes"),
          std::pair("/sys/fs/cgroup/unified/", "/memory.max"), std::pair("/sys/fs/cgroup/", "/memory.max")}) {
      path_ = mount + ("cohaul-test-" + std::to_string(::getpid()) + "-" + bytes);
      if (::mkdir(path_.c_str(), 0700) == 0 && std::filesystem::exists(path_ + limit) &&
          (std::ofstream(path_ + limit) << bytes << std::flush) &&
          std::system(("echo $$ 2>/dev/null >" + path_ + "/cgroup.procs").c_str()) == 0)
        return;
      ::rmdir(path_.c_str());
    }
    path_.clear();
  }
  ~ControlGroup() { ::rmdir(path_.c_str()); }
  ControlGroup(const ControlGroup&) = delete;
  const std::string& path() const { return path_; }  // empty: none can be made

 private:
  std::string path_;
};

TEST(ControlGroups, OfMemoryThatEndAWorkerAreNamed) {
  const ControlGroup small("150000000"), enough("2000000000");
  if (small.path().empty() || enough.path().empty()) GTEST_SKIP() << "no control group of memory can be made here";
  const auto in = [](const ControlGroup& group) {
    return Limit{"Memory", "echo $$ >" + group.path() + "/cgroup.procs",
                 "--workers 2 --set job.allocator=torch --set model.name=mlp --set train.batch=64"};
  };
  Running running("/bin/bash", {"-c", script(in(small))}, make_job());
  const auto exit = running.wait(kLong);
  ASSERT_TRUE(exit.has_value()) << "it hangs: " << running.err();
  EXPECT_TRUE(*exit == 3 || *exit == 1) << *exit << running.err();
  EXPECT_NE(running.err().find("its control group has no memory left"), std::string::npos) << running.err();
  EXPECT_NE(running.err().find(" allows 143 MiB"), std::string::npos) << running.err();
  Running other("/bin/bash", {"-c", script(in(enough))}, make_job());
  EXPECT_EQ(other.wait(kLong), 0) << other.err();
}

/// /dev/shm is small in containers, so shared memory is not in it.
TEST(SharedMemory, NeedsNoDevShm) {
  if (::getuid() != 0 || std::system("unshare -m true 2>/dev/null") != 0) GTEST_SKIP() << "needs a mount namespace";
  const Limit tiny{"", "mount -t tmpfs -o size=4k tmpfs /dev/shm; head -c 4096 /dev/zero >/dev/shm/full",
                   "--workers 2"};
  Running running("/usr/bin/unshare", {"-m", "/bin/bash", "-c", script(tiny)}, make_job());
  EXPECT_EQ(running.wait(kLong), 0) << running.err();
}

/// Older kernels lack calls, and containers refuse them.
class WithoutNewCalls : public testing::TestWithParam<std::string> {};

TEST_P(WithoutNewCalls, TrainsTheSame) {
  const std::string checkpoints = "--workers 2 --set train.checkpoint={}/checkpoints --set train.checkpoint_every=10 ";
  Running first(COHAUL_WITHOUT_CALLS, {GetParam(), "/bin/bash", "-c", script({"", "true", checkpoints})}, make_job());
  EXPECT_EQ(first.wait(kLong), 0) << first.err();
  Running plain("/bin/bash", {"-c", script({"", "true", "--workers 2"})}, make_job());
  EXPECT_EQ(plain.wait(kLong), 0) << plain.err();
  EXPECT_NE(hash_of(first), "");
  EXPECT_EQ(hash_of(first), hash_of(plain));
}

INSTANTIATE_TEST_SUITE_P(With, WithoutNewCalls, testing::Values("ENOSYS", "EPERM"),
                         [](const auto& i) { return i.param; });

/// A program's own malloc is not replaced, with the arena and without it.
TEST(Malloc, OfTheUsersStays) {
  const std::string library = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2";
  if (!std::filesystem::exists(library)) GTEST_SKIP() << library << " is not there: install libjemalloc2";
  for (const char* allocator : {"arena", "torch"}) {
    const Limit preloaded{"", "export LD_PRELOAD=" + library,
                          "--workers 2 --set job.allocator=" + std::string(allocator)};
    Running running("/bin/bash", {"-c", script(preloaded)}, make_job());
    EXPECT_EQ(running.wait(kLong), 0) << running.err();
    Running plain("/bin/bash", {"-c", script({"", "true", "--workers 2"})}, make_job());
    EXPECT_EQ(plain.wait(kLong), 0) << plain.err();
    EXPECT_NE(hash_of(running), "");
    EXPECT_EQ(hash_of(running), hash_of(plain));
  }
}

/// The record has the same bits with every allocator.
class Allocators : public testing::TestWithParam<std::string> {};

TEST_P(Allocators, GiveTheSameBits) {
  const auto hash = [](const std::string& more) {
    Running running("/bin/bash", {"-c", script({"", "true", more + " --set model.name=mlp"})}, make_job());
    EXPECT_EQ(running.wait(kLong), 0) << running.err();
    return hash_of(running);
  };
  const std::string arena = hash(GetParam());
  EXPECT_NE(arena, "");
  EXPECT_EQ(hash(GetParam() + " --set job.allocator=torch"), arena);
}

INSTANTIATE_TEST_SUITE_P(Under, Allocators,
                         testing::Values("--workers 1", "--workers 2",
                                         "--workers 2 --set strategy.name=parameter_server",
                                         "--workers 2 --set job.transport=tcp"),
                         [](const auto& info) { return "Case" + std::to_string(info.index); });

}  // namespace
}  // namespace cohaul::tests
