// Limits of the system: a run works within them, or names the limit and the fix; nothing kills it in silence.

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

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
  std::string limit;  // of bash, before the run
  std::string more{};
  std::vector<std::string> says{};  // empty: it works
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

/// /dev/shm is small in containers: what processes share lies elsewhere.
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

/// A program's own malloc stays what it is, beside the arena and without it.
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

/// The record has the same bits whoever allocates.
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
