// Tests of readers that stop reading what a run writes, as `head` does: the run goes on and saves, and its exit code is that of the training.

#include <gtest/gtest.h>

#include <filesystem>

#include "broken_files.h"
#include "cohaul/checkpoint/safetensors.h"
#include "train_runs.h"

namespace cohaul::tests {
namespace {

namespace fs = std::filesystem;

constexpr double kLong = 120;

constexpr const char* kJob = R"([model]
name = "softmax"
[data]
name = "idx"
path = "data"
[train]
batch = 12
steps = 300
log_every = 1
save = "end.safetensors"
[job]
threads = 1
)";

struct Reader {
  std::string name;
  std::string line;  // a line of bash: cohaul is the command, JOB its job
  std::string more{};
};
void PrintTo(const Reader& r, std::ostream* out) { *out << r.name; }

TemporaryFolder make_job() { return job_folder(kJob); }

/// Returns the line as a script that writes the run's exit code into the file `code`.
std::string script(const Reader& reader) {
  std::string line =
      "set -o pipefail; cd {}; cohaul() { " COHAUL_BIN "/cohaul \"$@\"; echo $? >code; }; " + reader.line;
  for (std::size_t at; (at = line.find("JOB")) != std::string::npos;) line.replace(at, 3, "{}/job.toml " + reader.more);
  return line;
}

void expect_saved(const Running& running) {
  const auto file = checkpoint::read(running.folder() + "/end.safetensors");
  ASSERT_TRUE(file.ok()) << file.status().message() << running.err();
  EXPECT_EQ(file->tensors().size(), 2u);
}

class Gone : public testing::TestWithParam<Reader> {};

TEST_P(Gone, TheRunGoesOnAndSaves) {
  Running running("/bin/bash", {"-c", script(GetParam())}, make_job());
  ASSERT_TRUE(running.wait(kLong).has_value()) << "it hangs: " << running.err();
  EXPECT_EQ(read_file(running.folder() + "/code"), "0\n") << running.err();
  expect_saved(running);
  EXPECT_TRUE(eventually(10, [&] { return running.descendants().empty(); }));
}

constexpr const char* kServers = "--workers 2 --set strategy.name=parameter_server --set strategy.servers=1";

INSTANTIATE_TEST_SUITE_P(Readers, Gone,
                         testing::Values(Reader{"OfStdout", "cohaul train JOB --record - --quiet | head -1"},
                                         Reader{"OfStdoutAtOnce", "cohaul train JOB --quiet | true"},
                                         Reader{"OfATable", "cohaul train JOB --csv - --quiet | head -1"},
                                         Reader{"OfStderr", "cohaul train JOB --workers 2 2>&1 >/dev/null | head -1"},
                                         Reader{"OfBoth", "cohaul train JOB --workers 2 2>&1 | head -1"},
                                         Reader{"OfBothWithServers", "cohaul train JOB 2>&1 | head -1", kServers},
                                         Reader{"OfARecord",
                                                "mkfifo r; head -1 r & cohaul train JOB --workers 2 --record r; wait"}),
                         [](const auto& info) { return info.param.name; });

/// A failure is reported by the exit code, even if its message is not read.
TEST(AReaderThatHasGone, DoesNotHideAFailure) {
  const Reader reader{"", "mkfifo r; head -1 r & cohaul train JOB --workers 2 --record r 2>&1 | head -1; wait",
                      "--program " COHAUL_OWN_WORKER " --set model.name=dies"};
  Running running("/bin/bash", {"-c", script(reader)}, make_job());
  ASSERT_TRUE(running.wait(kLong).has_value()) << "it hangs: " << running.err();
  EXPECT_EQ(read_file(running.folder() + "/code"), "3\n") << running.err();
  EXPECT_FALSE(fs::exists(running.folder() + "/end.safetensors"));
}

TEST(AReaderThatHasGone, DoesNotEndAProgramOfTheUsers) {
  const Reader reader{"", "cohaul launch --workers 2 -- " COHAUL_OWN_PRINTS " data done 2>&1 | head -1"};
  Running running("/bin/bash", {"-c", script(reader)}, make_job());
  ASSERT_TRUE(running.wait(kLong).has_value()) << "it hangs: " << running.err();
  EXPECT_EQ(read_file(running.folder() + "/code"), "0\n") << running.err();
  EXPECT_EQ(read_file(running.folder() + "/done"), "all steps are done\n");
}

}  // namespace
}  // namespace cohaul::tests
