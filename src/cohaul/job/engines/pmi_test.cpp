// PMI 1 against a server of the test's own, which also answers wrongly, late and not at all.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "cohaul/job/engines/directory.h"

namespace cohaul::job {
namespace {

/// Answers each line with the next of these, whatever it is.
class FakeMpirun {
 public:
  explicit FakeMpirun(std::vector<std::string> answers) : answers_(std::move(answers)) {
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends_), 0);
    thread_ = std::thread([this] { serve(); });
  }
  ~FakeMpirun() {
    ::shutdown(ends_[1], SHUT_RDWR);
    thread_.join();
    for (const int end : ends_) ::close(end);
  }
  int fd() const { return ends_[0]; }
  std::vector<std::string> heard;  // when it is over

 private:
  void serve() {
    std::string line;
    for (char c; ::read(ends_[1], &c, 1) == 1;) {
      if (c != '\n') {
        line += c;
        continue;
      }
      heard.push_back(std::exchange(line, {}));
      if (heard.size() > answers_.size()) continue;
      const std::string& answer = answers_[heard.size() - 1];
      (void)!::write(ends_[1], answer.data(), answer.size());
      if (answer.empty()) ::shutdown(ends_[1], SHUT_RDWR);
    }
  }
  std::vector<std::string> answers_;
  int ends_[2] = {-1, -1};
  std::thread thread_;
};

constexpr const char* kOpened = "cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0\n";
constexpr const char* kName = "cmd=my_kvsname kvsname=kvs_7_0\n";

Place of_mpich(int fd, const std::string& meet_at) {
  Place place;
  place.engine = "MPICH";
  place.task = 0;
  place.tasks = 2;
  place.meet_at = meet_at;
  place.directory = Directory::pmi;
  place.directory_fd = fd;
  return place;
}

Time soon() { return steady_clock().now() + kSecond / 5; }

TEST(Pmi, AsksForTheRunsNameAlone) {
  FakeMpirun mpirun({kOpened, kName, "cmd=finalize_ack\n"});
  Place place = of_mpich(mpirun.fd(), "127.0.0.1");
  const Status asked = ask_directory(place, "10.0.0.1", soon());
  EXPECT_TRUE(asked.ok()) << asked.message();
  EXPECT_EQ(place.run_name, "MPICH kvs_7_0");
  EXPECT_EQ(place.meet_at, "127.0.0.1");
}

TEST(Pmi, SaysAndHearsTheHost) {
  FakeMpirun mpirun({kOpened, kName, "cmd=put_result rc=0 msg=success\n", "cmd=barrier_out\n",
                     "cmd=get_result rc=0 msg=success value=10.0.0.1\n", "cmd=finalize_ack\n"});
  Place place = of_mpich(mpirun.fd(), "");
  const Status asked = ask_directory(place, "10.0.0.1", soon());
  EXPECT_TRUE(asked.ok()) << asked.message();
  EXPECT_EQ(place.meet_at, "10.0.0.1");
}

TEST(Pmi, WhatGoesWrongIsAnError) {
  const auto error = [](std::vector<std::string> answers) {
    FakeMpirun mpirun(std::move(answers));
    Place place = of_mpich(mpirun.fd(), "");
    return ask_directory(place, "10.0.0.1", soon());
  };
  EXPECT_EQ(error({"cmd=response_to_init rc=-1\n"}).code(), Code::internal);
  EXPECT_EQ(error({kOpened, "nonsense\n"}).code(), Code::internal);
  EXPECT_EQ(error({kOpened, std::string(5000, 'x')}).code(), Code::internal);  // a line without an end
  EXPECT_EQ(error({kOpened, ""}).code(), Code::peer_lost);                     // it is gone
  EXPECT_EQ(error({kOpened, kName, "cmd=put_result rc=0\n", "cmd=barr"}).code(), Code::peer_lost);  // it says no more
}

}  // namespace
}  // namespace cohaul::job
