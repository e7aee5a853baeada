#include "cohaul/base/temporary_folder.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace cohaul {
namespace {

namespace fs = std::filesystem;

TEST(TemporaryFolder, GoesWithItsOwner) {
  std::string path, kept;
  {
    auto made = TemporaryFolder::make("cohaul-base");
    ASSERT_TRUE(made.ok()) << made.status().message();
    TemporaryFolder folder = std::move(*made);
    path = folder.path();
    std::ofstream(folder.file("a")) << "text";
    EXPECT_TRUE(fs::exists(path + "/a"));
    folder = std::move(TemporaryFolder::make("cohaul-base")).value();
    EXPECT_FALSE(fs::exists(path)) << "another took its place";
    path = folder.path();
    EXPECT_EQ(fs::status(path).permissions() & fs::perms::all, fs::perms::owner_all);
    TemporaryFolder other = std::move(TemporaryFolder::make("cohaul-base")).value();
    kept = other.path();
    other.keep();
  }
  EXPECT_FALSE(fs::exists(path));
  EXPECT_TRUE(fs::remove(kept));
}

}  // namespace
}  // namespace cohaul
