#include "cohaul/job/error_file.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>

#include <nlohmann/json.hpp>

#include "cohaul/base/temporary_folder.h"

namespace cohaul::job {
namespace {

TEST(ErrorFile, HasTheFailureThatIsTheProcesssOwn) {
  auto folder = TemporaryFolder::make("cohaul-error");
  ASSERT_TRUE(folder.ok());
  const std::string file = folder->path() + "/error.json";
  const auto written = [&] { return nlohmann::json::parse(std::ifstream(file), nullptr, false); };
  ::setenv("TORCHELASTIC_ERROR_FILE", file.c_str(), 1);
  tell_torchrun(peer_lost("worker 1 was lost: killed by SIGKILL"));
  tell_torchrun({});
  EXPECT_FALSE(std::ifstream(file).good());
  tell_torchrun(invalid("job.toml:3: optimizer.lr = \"fast\""));
  EXPECT_EQ(written()["message"]["message"], "job.toml:3: optimizer.lr = \"fast\"");
  EXPECT_GT(std::stoll(written()["message"]["extraInfo"]["timestamp"].get<std::string>()), 1'700'000'000);
  ::unsetenv("TORCHELASTIC_ERROR_FILE");
  tell_torchrun(internal("another"));
  EXPECT_EQ(written()["message"]["message"], "job.toml:3: optimizer.lr = \"fast\"");
  ::setenv("TORCHELASTIC_ERROR_FILE", "/no/such/folder/error.json", 1);
  tell_torchrun(internal("nobody reads this"));
  ::unsetenv("TORCHELASTIC_ERROR_FILE");
}

TEST(ErrorFile, TakesAnyText) {
  const auto text = nlohmann::json::parse(error_file_text("\xff\n\"", 5'900'000'000));
  EXPECT_EQ(text["message"]["extraInfo"]["timestamp"], "5");
  EXPECT_NE(std::string(text["message"]["message"]).find("\n\""), std::string::npos);
}

}  // namespace
}  // namespace cohaul::job
