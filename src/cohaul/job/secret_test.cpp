#include "cohaul/job/secret.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "cohaul/base/temporary_folder.h"
#include "cohaul/job/job.h"
#include "cohaul/job/job_id.h"

namespace cohaul::job {
namespace {

namespace fs = std::filesystem;

class Secret : public testing::Test {
 protected:
  void write(const std::string& text, mode_t mode = 0600) {
    std::ofstream(file_) << text;
    ::chmod(file_.c_str(), mode);
  }
  std::string refusal() { return std::string(read_secret(file_).status().message()); }
  TemporaryFolder folder_ = TemporaryFolder::make("cohaul-test").value();
  const std::string file_ = folder_.file("secret");
};

TEST_F(Secret, IsMadeOnceForItsOwnerAlone) {
  const std::string file = folder_.file("a/b/secret");
  ASSERT_TRUE(make_secret(file).ok());
  struct stat about {};
  ASSERT_EQ(::stat(file.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u);
  const std::string text = read_secret(file).value();
  EXPECT_EQ(text.size(), 64u);
  EXPECT_EQ(make_secret(file).code(), Code::invalid);  // the old one stays
  EXPECT_EQ(read_secret(file).value(), text);
  ASSERT_TRUE(make_secret(file_).ok());
  EXPECT_NE(read_secret(file_).value(), text);
}

TEST_F(Secret, WhatOthersCanReadIsNone) {
  const std::string good(kSecretLeast, 'x');
  for (const mode_t mode : {0640, 0604, 0620, 0602}) {
    write(good, mode);
    EXPECT_NE(refusal().find("others may read or write it: chmod 600"), std::string::npos) << mode;
  }
  write(good + "\n");
  EXPECT_EQ(read_secret(file_).value(), good);
  write(" \n");
  EXPECT_NE(refusal().find("it has 0 characters"), std::string::npos);
  write(std::string(kSecretLeast - 1, 'x') + "\n\n");
  EXPECT_NE(refusal().find("it has 31 characters, and needs 32"), std::string::npos);
  fs::remove(file_);
  EXPECT_NE(refusal().find(file_), std::string::npos);
}

TEST_F(Secret, EachRunHasAKeyOfItsOwn) {
  const std::string secret(64, 's');
  EXPECT_EQ(key_of(secret, "run 1"), key_of(secret, "run 1"));
  EXPECT_NE(key_of(secret, "run 1"), key_of(secret, "run 2"));
  EXPECT_NE(key_of(secret, "run 1"), key_of(std::string(64, 't'), "run 1"));
  JoinOptions o;
  o.run_name = "run 1";
  EXPECT_TRUE(std::holds_alternative<std::monostate>(control_identity(o).credentials));
  o.secret = secret;
  EXPECT_EQ(std::get<transport::Key>(control_identity(o).credentials), key_of(secret, "run 1"));
}

/// Variables of a job that leaves its host, beside those given.
Result<JoinOptions> of_two_hosts(std::map<std::string, std::string> variables) {
  variables.merge(std::map<std::string, std::string>{{"RANK", "1"},
                                                     {"WORLD_SIZE", "2"},
                                                     {"MASTER_ADDR", "192.0.2.1"},
                                                     {"MASTER_PORT", "5"},
                                                     {"COHAUL_LISTEN", "192.0.2.2"}});
  for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
  Result<JoinOptions> out = from_environment();
  for (const auto& [name, value] : variables) ::unsetenv(name.c_str());
  return out;
}

TEST_F(Secret, IsTheOneThatTheUserNamesOrKeeps) {
  const std::string home = folder_.path(), here(kSecretLeast, 'h'), kept(kSecretLeast, 'k');
  const std::map<std::string, std::string> nothing{{"XDG_CONFIG_HOME", home}};
  EXPECT_EQ(of_two_hosts(nothing)->secret, "");
  EXPECT_NE(Job::join(of_two_hosts(nothing).value()).status().message().find("run `cohaul secret` once"),
            std::string::npos);
  fs::create_directory(home + "/cohaul");
  std::ofstream(home + "/cohaul/secret") << kept;
  ::chmod((home + "/cohaul/secret").c_str(), 0600);
  EXPECT_EQ(of_two_hosts(nothing)->secret, kept);
  EXPECT_EQ(of_two_hosts({{"XDG_CONFIG_HOME", home}, {"COHAUL_PLAINTEXT", "1"}})->secret, "");
  EXPECT_EQ(of_two_hosts({{"XDG_CONFIG_HOME", home}, {"COHAUL_SECRET", here}})->secret, here);
  EXPECT_EQ(of_two_hosts({{"XDG_CONFIG_HOME", home}, {"COHAUL_LISTEN", "127.0.0.1"}})->secret,
            "");  // nothing leaves the host
  write(here);
  EXPECT_EQ(of_two_hosts({{"XDG_CONFIG_HOME", home}, {"COHAUL_SECRET_FILE", file_}})->secret, here);
  EXPECT_NE(of_two_hosts({{"COHAUL_SECRET", "short"}}).status().message().find("COHAUL_SECRET has 5 characters"),
            std::string::npos);
  EXPECT_NE(of_two_hosts({{"COHAUL_SECRET_FILE", file_ + "x"}}).status().message().find(file_ + "x"),
            std::string::npos);
}

}  // namespace
}  // namespace cohaul::job
