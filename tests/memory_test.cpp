// Compares the memory that a training needs with what LibTorch alone needs for it.

#include <gtest/gtest.h>

#include "broken_files.h"
#include "running.h"

namespace cohaul::tests {
namespace {

long kib_of(const std::string& how, int steps) {
  TemporaryFolder folder = fresh_folder();
  write_data(folder.file("data"), {.images = 48, .labels = 48});
  Running running(COHAUL_MEMORY_USE, {how, "{}/data", std::to_string(steps)}, std::move(folder));
  EXPECT_EQ(running.wait(600), 0) << running.err();
  return std::stol("0" + running.out());
}

TEST(Memory, OfBatchesOfRandomSizesIsNearLibTorchsOwn) {
  constexpr int kSteps = 1000;
  const long empty = kib_of("empty", 0), torch = kib_of("torch", kSteps) - empty,
             cohaul = kib_of("cohaul", kSteps) - empty;
  RecordProperty("torch_kib", static_cast<int>(torch));
  RecordProperty("cohaul_kib", static_cast<int>(cohaul));
  EXPECT_GT(torch, 10'000);
  EXPECT_LE(static_cast<double>(cohaul), 1.3 * static_cast<double>(torch)) << "LibTorch: " << torch << " KiB";
}

}  // namespace
}  // namespace cohaul::tests
