#include "cohaul/job/job.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <stdlib.h>

#include <atomic>
#include <chrono>
#include <latch>
#include <map>
#include <memory>
#include <thread>

#include "cohaul/job/connect.h"
#include "cohaul/job/cores.h"
#include "cohaul/job/engines/place.h"
#include "cohaul/job/job_id.h"
#include "cohaul/job/rendezvous_host.h"
#include "cohaul/job/test_workers.h"
#include "cohaul/transport/endpoint.h"

namespace cohaul::job {
namespace {

using transport::Role;
Time in(double s) { return steady_clock().now() + seconds(s); }

TEST(JobTest, AloneNeedsNobody) {
  auto joined = Job::join({});
  ASSERT_TRUE(joined.ok());
  Job& job = **joined;
  EXPECT_EQ(job.world(), 1);
  EXPECT_EQ(job.workers_on_host(), 1);
  EXPECT_TRUE(job.set("a", "1").ok());
  EXPECT_EQ(*job.get("a", in(1)), "1");
  EXPECT_EQ(job.set("a", "2").code(), Code::invalid);
  EXPECT_EQ(job.get("b", in(0.01)).status().code(), Code::peer_lost);
  std::thread other([&] { EXPECT_TRUE(job.barrier("x", 2, in(5)).ok()); });
  EXPECT_TRUE(job.barrier("x", 2, in(5)).ok());
  other.join();
  EXPECT_EQ(job.barrier("x", 2, in(0.01)).code(), Code::peer_lost);
  bool filled = false;
  auto arena = job.share_on_host(
      "x", 4096, transport::Access::read,
      [&](transport::Arena&) {
        filled = true;
        return Status{};
      },
      in(1));
  ASSERT_TRUE(arena.ok());
  EXPECT_TRUE(filled);
  EXPECT_TRUE(job.close().ok());
}

TEST(JobTest, WorkersMeetWithoutALauncher) {
  with_workers(3, [](Job& job) {
    EXPECT_EQ(job.members().size(), 3u);
    EXPECT_EQ(job.workers_on_host(), 3);
    EXPECT_EQ(job.processes_on_host(), 3);
    EXPECT_EQ(job.index_on_host(), job.rank());
    EXPECT_EQ(job.members()[static_cast<std::size_t>(job.rank())].rank, job.rank());
    std::string big(kValueBytesMax, static_cast<char>('a' + job.rank()));
    EXPECT_TRUE(job.set("value/" + std::to_string(job.rank()), big).ok());
    auto other = job.get("value/" + std::to_string((job.rank() + 1) % 3), in(5));
    ASSERT_TRUE(other.ok());
    EXPECT_EQ(other->size(), kValueBytesMax);
    EXPECT_EQ((*other)[0], 'a' + (job.rank() + 1) % 3);
    EXPECT_EQ(job.set("big", big + "x").code(), Code::invalid);
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(job.barrier("again", 3, in(5)).ok());
    auto arena = job.share_on_host("m", 1 << 20, transport::Access::write, {}, in(5));
    ASSERT_TRUE(arena.ok()) << arena.status().message();
    arena->bytes()[static_cast<std::size_t>(job.rank())] = std::byte{7};
    EXPECT_TRUE(job.barrier("written", 3, in(5)).ok());
    for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(arena->bytes()[i], std::byte{7});
    EXPECT_TRUE(job.barrier("read", 3, in(5)).ok());
    Status closed = job.close();
    EXPECT_TRUE(closed.ok()) << closed.message();
  });
}

TEST(JobTest, WorkersConnectToEachOther) {
  with_workers(4, [](Job& job) {
    auto poller = transport::make_poller();
    ASSERT_TRUE(poller.ok());
    auto channels = connect_workers(job, **poller, "group", 42, in(10));
    ASSERT_TRUE(channels.ok()) << channels.status().message();
    ASSERT_EQ(channels->size(), 4u);
    for (int r = 0; r < 4; ++r) {
      auto& c = (*channels)[static_cast<std::size_t>(r)];
      ASSERT_EQ(c == nullptr, r == job.rank());
      if (c == nullptr) continue;
      EXPECT_EQ(c->peer().rank, r);
      transport::Message m;
      m.kind = static_cast<std::uint16_t>(10 + job.rank());
      EXPECT_TRUE(c->send(m).ok());
    }
    for (int r = 0; r < 4; ++r) {
      auto& c = (*channels)[static_cast<std::size_t>(r)];
      for (Time end = in(5); c != nullptr && steady_clock().now() < end;) {
        auto frame = c->receive();
        ASSERT_TRUE(frame.ok());
        if (frame->has_value()) {
          EXPECT_EQ((*frame)->kind, 10 + r);
          break;
        }
        ASSERT_TRUE((*poller)->wait(end).ok());
      }
    }
    EXPECT_TRUE(job.barrier("end", 4, in(5)).ok());
    for (auto& c : *channels) {
      if (c != nullptr) (*poller)->remove(*c);
    }
    channels->clear();
    EXPECT_TRUE(job.close().ok());
  });
}

TEST(JobTest, AMissingWorkerIsNamedInABarrierAndLostWithoutGoodbye) {
  with_workers(2, [](Job& job) {
    if (job.rank() == 0) {
      Status s = job.barrier("half", 2, in(0.2));
      EXPECT_EQ(s.code(), Code::peer_lost);
      EXPECT_NE(s.message().find("missing: worker 1"), std::string::npos) << s.message();
      auto poller = transport::make_poller();
      job.wake_on_loss(poller->get());
      EXPECT_TRUE(job.set("go", "").ok());
      Time end = in(5);
      while (job.health().ok() && steady_clock().now() < end) EXPECT_TRUE((*poller)->wait(end).ok());
      job.forget(poller->get());
      EXPECT_NE(job.health().message().find("worker 1: its connection closed without a goodbye"), std::string::npos)
          << job.health().message();
      EXPECT_EQ(job.get("never", in(5)).status().message(), job.health().message());  // at once
      EXPECT_EQ(job.close().code(), Code::peer_lost);
    } else {
      EXPECT_TRUE(job.get("go", in(5)).ok());  // and is gone
    }
  });
}

TEST(JobTest, AReportedFailureIsWhatOthersRead) {
  with_workers(2, [](Job& job) {
    if (job.rank() == 1) job.report_failure(invalid("optimizer.lr: nothing but numbers"));
    EXPECT_NE(job.get("never", in(5)).status().message().find("worker 1: optimizer.lr: nothing but numbers"),
              std::string::npos);
  });
}

TEST(JobTest, AfterACommitTheOthersMayVanish) {
  with_workers(2, [](Job& job) {
    if (job.rank() == 1) {
      EXPECT_TRUE(job.get("committed", in(5)).ok());
      return;  // without a goodbye
    }
    EXPECT_TRUE(job.commit().ok());
    EXPECT_TRUE(job.set("committed", "").ok());
    EXPECT_EQ(job.get("never", in(1)).status().code(), Code::peer_lost);  // since no worker sets it
    EXPECT_TRUE(job.health().ok()) << job.health().message();
    EXPECT_TRUE(job.close().ok());
  });
}

TEST(JobTest, ALauncherThatDoesNotAnswerIsGivenUp) {
  auto poller = transport::make_poller();
  auto silent = transport::listen(**poller, {}, "127.0.0.1", 0);  // and accepts no connection
  ASSERT_TRUE(silent.ok());
  JoinOptions o;
  o.launched = true;
  o.address = "127.0.0.1:" + std::to_string((*silent)->address().port);
  o.peer_timeout_s = 0.3;
  o.join_timeout_s = 60;
  Time before = steady_clock().now();
  auto job = Job::join(o);
  EXPECT_EQ(job.status().code(), Code::peer_lost) << job.status().message();
  EXPECT_LT(steady_clock().now() - before, 20 * kSecond);
}

TEST(JobTest, APortTakenUnderAnotherLauncherIsTheUsersMistake) {
  auto poller = transport::make_poller();
  auto taken = transport::listen(**poller, {}, "127.0.0.1", 0);
  ASSERT_TRUE(taken.ok());
  JoinOptions o;
  o.world = 2;
  o.address = "127.0.0.1:" + std::to_string((*taken)->address().port);
  Status refused = Job::join(o).status();
  EXPECT_EQ(refused.code(), Code::invalid);
  EXPECT_NE(refused.message().find(o.address), std::string::npos) << refused.message();
  EXPECT_NE(refused.message().find("choose another port (MASTER_PORT"), std::string::npos) << refused.message();
}

TEST(JobTest, RefusesAStranger) {
  Membership::Options m;
  JoinOptions o;
  o.token = 5;
  transport::Identity self = control_identity(o);
  self.role = Role::launcher;
  auto host = RendezvousHost::start(self, {.hosts = {"127.0.0.1"}}, m);
  ASSERT_TRUE(host.ok());
  o.token = 6;
  o.launched = true;
  o.address = "127.0.0.1:" + std::to_string((*host)->address().port);
  o.join_timeout_s = 2;
  auto job = Job::join(o);
  ASSERT_FALSE(job.ok());
  EXPECT_EQ(job.status().code(), Code::invalid) << job.status().message();
}

/// Without a port, those that follow from the run's name are tried: another program has the first, and another run is at the second.
TEST(JobTest, WorkersOfARunFindEachOtherAmongOthers) {
  JoinOptions o;
  o.run_name = "a run of process " + std::to_string(random_bits());
  o.address = kThisHost;
  o.world = 2;
  o.join_timeout_s = o.step_timeout_s = 20;
  const std::vector<std::uint16_t> ports = ports_of(o.run_name);
  auto poller = transport::make_poller();
  const auto silent = transport::listen(**poller, {}, kThisHost, ports[0]);
  JoinOptions other = o;
  other.run_name = "another";
  transport::Identity self = control_identity(other);
  self.role = Role::launcher;
  const auto host = RendezvousHost::start(self, {.hosts = {kThisHost}, .port = ports[1]}, {});
  ASSERT_TRUE(silent.ok() && host.ok());
  const auto worker = [&](int rank) {
    JoinOptions mine = o;
    mine.rank = rank;
    auto job = Job::join(mine);
    ASSERT_TRUE(job.ok()) << job.status().message();
    EXPECT_TRUE((*job)->barrier("here", 2, in(20)).ok());
    EXPECT_TRUE((*job)->close().ok());
  };
  std::thread first(worker, 0);
  worker(1);
  first.join();
}

TEST(JobTest, WhoWasNotLetInIsToldOf) {
  JoinOptions o;
  o.world = 2;
  o.address = free_address();
  o.run_name = "ours";
  o.join_timeout_s = 1;
  std::thread stranger([o]() mutable {
    o.run_name = "theirs";
    o.rank = 1;
    EXPECT_FALSE(Job::join(o).ok());
  });
  const Status alone = Job::join(o).status();
  stranger.join();
  EXPECT_NE(alone.message().find("worker 1: did not join"), std::string::npos) << alone.message();
  EXPECT_NE(alone.message().find("the last that was refused: the two processes belong to different jobs"),
            std::string::npos)
      << alone.message();
}

TEST(JobTest, AnotherRunAtTheSameAddressIsRefusedAtOnce) {
  JoinOptions o;
  o.run_name = "try 0";
  transport::Identity self = control_identity(o);
  self.role = Role::launcher;
  Membership::Options two;
  two.workers = 2;
  const auto host = RendezvousHost::start(self, {.hosts = {kThisHost}}, two);
  ASSERT_TRUE(host.ok());
  o.run_name = "try 1";
  o.address = "127.0.0.1:" + std::to_string((*host)->address().port);
  o.world = 2;
  o.rank = 1;
  const Time begun = steady_clock().now();
  const Status refused = Job::join(o).status();
  EXPECT_NE(refused.message().find("different jobs"), std::string::npos) << refused.message();
  EXPECT_LT(steady_clock().now() - begun, 5 * kSecond);
}

TEST(JobTest, RefusesBadOptions) {
  JoinOptions o;
  o.world = 2;
  EXPECT_EQ(Job::join(o).status().code(), Code::invalid);  // no address
  o.address = "127.0.0.1";
  EXPECT_NE(Job::join(o).status().message().find("no port"), std::string::npos);
  o.rank = 2;
  EXPECT_NE(Job::join(o).status().message().find("ranks are 0 … 1"), std::string::npos);
}

TEST(JobTest, NobodyAtTheAddress) {
  JoinOptions o;
  o.world = 2;
  o.rank = 1;
  o.address = free_address();
  o.join_timeout_s = 0.5;
  auto job = Job::join(o);
  ASSERT_FALSE(job.ok());
  EXPECT_EQ(job.status().code(), Code::peer_lost);
  EXPECT_NE(job.status().message().find(o.address), std::string::npos) << job.status().message();
}

class EnvironmentTest : public ::testing::Test {
 protected:
  Result<JoinOptions> read(const std::map<std::string, std::string>& variables) {
    for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
    auto out = from_environment();
    for (const auto& [name, value] : variables) ::unsetenv(name.c_str());
    return out;
  }
};

TEST_F(EnvironmentTest, Reads) {
  EXPECT_EQ(read({})->world, 1);
  EXPECT_TRUE(read({})->address.empty());
  auto o = read({{"RANK", "1"},
                 {"WORLD_SIZE", "4"},
                 {"MASTER_ADDR", "127.0.0.1"},
                 {"MASTER_PORT", "29500"},
                 {"COHAUL_TRANSPORT", "tcp"}});
  ASSERT_TRUE(o.ok());
  EXPECT_EQ(o->rank, 1);
  EXPECT_EQ(o->address, "127.0.0.1:29500");
  EXPECT_EQ(o->listen, std::vector<std::string>{"127.0.0.1"});
  EXPECT_EQ(o->transport, transport::Form::tcp);
  EXPECT_FALSE(o->launched);
  o = read({{"COHAUL_ADDRESS", "127.0.0.1:5"},
            {"COHAUL_ROLE", "server"},
            {"COHAUL_RANK", "1"},
            {"COHAUL_WORKERS", "4"},
            {"COHAUL_SERVERS", "2"},
            {"COHAUL_PEER_TIMEOUT_S", "2.5"}});
  ASSERT_TRUE(o.ok());
  EXPECT_EQ(o->role, Role::server);
  EXPECT_EQ(o->rank, 1);
  EXPECT_EQ(o->peer_timeout_s, 2.5);
  EXPECT_TRUE(o->launched);
}

TEST_F(EnvironmentTest, NamesWhatIsWrong) {
  auto message = [&](const std::map<std::string, std::string>& v) { return read(v).status().message(); };
  EXPECT_EQ(message({{"RANK", "2"}, {"WORLD_SIZE", "2"}}),
            "the environment variable RANK is '2': it should be a rank in 0 … 1");
  EXPECT_NE(message({{"RANK", "2"}}).find("only RANK is set"), std::string::npos);
  EXPECT_NE(message({{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "127.0.0.1"}}).find("MASTER_PORT is not set"),
            std::string::npos);
  EXPECT_NE(message({{"COHAUL_TRANSPORT", "pigeon"}}).find("auto, arena or tcp"), std::string::npos);
  EXPECT_NE(message({{"COHAUL_PEER_TIMEOUT_S", "nan"}}).find("seconds"), std::string::npos);
  EXPECT_NE(message({{"WORLD_SIZE", "two"}, {"RANK", "0"}}).find("WORLD_SIZE is 'two'"), std::string::npos);
}

Member at(std::string host, std::string cpus, int rank, transport::Role role = transport::Role::worker) {
  Member m;
  m.role = role;
  m.rank = rank;
  m.host_id = std::move(host);
  m.cpus = std::move(cpus);
  return m;
}

TEST(InstructionSets, OfTwoWorkersThatDifferAreNamed) {
  std::vector<Member> members{at("a", "", 0), at("b", "", 1), at("b", "", 0, transport::Role::server)};
  EXPECT_EQ(different_instruction_sets(members), "");
  members[0].instruction_set = members[1].instruction_set = "AVX2";
  members[2].instruction_set = "a server has none";
  EXPECT_EQ(different_instruction_sets(members), "");
  members[0].host = "oak", members[1].host = "elm";
  members[1].instruction_set = "AVX512";
  EXPECT_EQ(different_instruction_sets(members), "worker 0 on oak computes with AVX2, worker 1 on elm with AVX512");
}

TEST(CoresTest, ACoreIsSharedByThoseWhoMayRunOnIt) {
  const std::vector<Member> bound{at("a", "0", 0), at("a", "1", 1), at("b", "0-3", 2)};
  EXPECT_DOUBLE_EQ(cores_of(bound[0], bound, true), 1);
  EXPECT_DOUBLE_EQ(cores_of(bound[2], bound, true), 4);
  EXPECT_EQ(default_threads(bound), 1);
  const std::vector<Member> free{at("a", "0-1,4-5", 0), at("a", "0-1,4-5", 1)};
  EXPECT_DOUBLE_EQ(cores_of(free[0], free, true), 2);
  EXPECT_EQ(default_threads(free), 2);
  std::vector<Member> three{at("a", "0-1", 0), at("a", "0-1", 1), at("a", "0-1", 0, transport::Role::server)};
  EXPECT_DOUBLE_EQ(cores_of(three[0], three, true), 1);
  EXPECT_LT(cores_of(three[0], three, false), 1);
  for (Member& m : three) m.quota = 1;
  EXPECT_DOUBLE_EQ(cores_of(three[0], three, true), 0.5);
  EXPECT_EQ(default_threads(three), 1);
}

TEST(CoresTest, TheLeastThatAnyWorkerWantsIsEverybodysNumberOfThreads) {
  std::vector<Member> members{at("a", "0-7", 0), at("b", "0-7", 1)};
  members[0].wants_threads = 6;
  EXPECT_EQ(default_threads(members), 6);
  members[1].wants_threads = 3;
  EXPECT_EQ(default_threads(members), 3);
}

TEST(CoresTest, MasksGoThroughText) {
  const std::string cpus = allowed_cpus();
  ASSERT_FALSE(cpus.empty());
  const std::vector<Member> alone{at("a", cpus, 0)};
  cpu_set_t set;
  ASSERT_EQ(::sched_getaffinity(0, sizeof set, &set), 0);
  EXPECT_DOUBLE_EQ(cores_of(alone[0], alone, true), CPU_COUNT(&set));
  for (const char* bad : {"", "x", "3-", "-1", "99999999999"}) {
    const std::vector<Member> none{at("a", bad, 0)};
    EXPECT_GE(default_threads(none), 1) << bad;
  }
}

TEST(CoresTest, OpenMpsVariableIsAWish) {
  const auto wanted = [](const char* value) {
    ::setenv("OMP_NUM_THREADS", value, 1);
    const int out = wanted_threads();
    ::unsetenv("OMP_NUM_THREADS");
    return out;
  };
  EXPECT_EQ(wanted_threads(), 0);
  EXPECT_EQ(wanted("4"), 4);
  EXPECT_EQ(wanted("4,2"), 4);
  EXPECT_EQ(wanted("x"), 0);
  EXPECT_EQ(wanted("-3"), 0);
  EXPECT_EQ(wanted("1"), 1);
  ::setenv("TORCHELASTIC_RUN_ID", "a", 1);
  EXPECT_EQ(wanted("1"), 0);
  EXPECT_EQ(wanted("2"), 2);
  ::unsetenv("TORCHELASTIC_RUN_ID");
}

TEST(CoresTest, Quotas) {
  EXPECT_EQ(cores_of_quota("max 100000"), 0);
  EXPECT_EQ(cores_of_quota("200000 100000"), 2);
  EXPECT_EQ(cores_of_quota("150000 100000"), 2);
  EXPECT_EQ(cores_of_quota("-1 100000"), 0);
  EXPECT_EQ(cores_of_quota(""), 0);
  EXPECT_GE(cores(), 1);
}

TEST(JobTest, WhoHasWaitedHearsWhoStandsStill) {
  auto body = [](Job& job) {
    if (job.rank() == 1) {  // lives, and does not wait
      for (Time end = in(10); job.health().ok() && steady_clock().now() < end;)
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      EXPECT_EQ(job.health().code(), Code::peer_lost);
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(600));
    Status told = job.overdue(500 * kMillisecond);
    EXPECT_EQ(told.code(), Code::peer_lost);
    EXPECT_EQ(told.message().rfind("worker 1: stands still", 0), 0u) << told.message();
  };
  with_workers(2, body, 2);
}

TEST(JobTest, NobodyStandsStillWhereAllWait) {
  with_workers(2, [](Job& job) {
    if (job.rank() == 1) {
      EXPECT_TRUE(job.barrier("asked", 2, in(10)).ok());
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(600));
      Status told = job.overdue(500 * kMillisecond);
      EXPECT_TRUE(told.ok()) << told.message();
      EXPECT_TRUE(job.barrier("asked", 2, in(10)).ok());
    }
    EXPECT_TRUE(job.close().ok());
  });
}

TEST(JobTest, MeasuresWaitsAlsoOneWithinAnother) {
  auto job = *Job::join({});
  EXPECT_EQ(job->waited(), 0);
  const Time began = steady_clock().now();
  {
    Waiting outer(*job);
    { Waiting inner(*job); }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  const Duration waited = job->waited();
  EXPECT_GE(waited, 5 * kMillisecond);
  EXPECT_LE(waited, steady_clock().now() - began);
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(job->waited(), waited) << "it does not wait";
}

TEST(LastWordsTest, AreSaidTheLatestFirstAndMayAskTheJobAgain) {
  auto job = *Job::join({});
  std::string said;
  job->at_close([&] {
    said += "a";
    return Status();
  });
  auto taken_back = job->at_close([&] {
    said += "b";
    return Status();
  });
  job->at_close([&, held = std::make_shared<int>(1)] {
    said += "c" + std::to_string(job->count("c"));
    job->forget_at_close(taken_back);
    job->at_close([&said, held] {
      said += "d" + std::to_string(held.use_count());
      return Status();
    });
    said += std::to_string(*held);  // still its own
    return Status();
  });
  EXPECT_TRUE(job->close().ok());
  EXPECT_EQ(said, "c01d1a");
  EXPECT_EQ(job->count("c"), 1);
}

TEST(LastWordsTest, WhatIsTakenBackLeavesNothingBehind) {
  auto job = *Job::join({});
  auto held = std::make_shared<int>(1);
  auto id = job->at_close([held] { return invalid("said"); });
  EXPECT_EQ(held.use_count(), 2);
  job->forget_at_close(id);
  EXPECT_EQ(held.use_count(), 1);
  job->forget_at_close(id);
  EXPECT_TRUE(job->close().ok());
}

TEST(LastWordsTest, AnyThreadMayGiveThem) {
  auto job = *Job::join({});
  std::atomic<int> said = 0;
  std::latch all_here(4);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      all_here.arrive_and_wait();
      for (int i = 0; i < 20'000; ++i) {
        job->at_close([&] {
          ++said;
          return Status();
        });
        job->forget_at_close(job->at_close([] { return invalid("taken back"); }));
        job->count("asked");
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_TRUE(job->close().ok());
  EXPECT_EQ(said, 80'000);
  EXPECT_EQ(job->count("asked"), 80'000);
}

TEST(ControlTest, RefusesBrokenMessages) {
  ControlMessage m;
  m.key = "key";
  std::vector<std::byte> body = encode_body(m);
  EXPECT_TRUE(decode_control(3, 1, 2, body, {}).ok());
  EXPECT_EQ(decode_control(12, 1, 2, body, {}).status().code(), Code::corrupt);
  for (std::size_t n = 0; n < body.size(); ++n)
    EXPECT_FALSE(decode_control(3, 1, 2, ConstBytes(body).first(n), {}).ok());
  std::string loss = encode_loss({{Role::server, 3}, "how", "operation", 1, true});
  EXPECT_EQ(decode_loss(loss)->message(), "server 3: how; last operation: operation");
  for (std::size_t n = 0; n < loss.size(); ++n) EXPECT_FALSE(decode_loss(loss.substr(0, n)).ok());
  Member member;
  member.host = "h";
  std::string members = encode_members({member, member});
  EXPECT_EQ(decode_members(members)->size(), 2u);
  for (std::size_t n = 0; n < members.size(); ++n) EXPECT_FALSE(decode_members(members.substr(0, n)).ok());
  const std::string welcome = encode_welcome({.members = {member}, .hosts = {0, 0, 2}, .threads = 3});
  EXPECT_EQ(decode_welcome(welcome)->hosts, (std::vector<int>{0, 0, 2}));
  EXPECT_EQ(decode_welcome(welcome)->threads, 3);
  for (std::size_t n = 0; n < welcome.size(); ++n) EXPECT_FALSE(decode_welcome(welcome.substr(0, n)).ok());
  std::string ranks = encode_ranks({7, 1023}), values = encode_values({"a", ""});
  EXPECT_EQ(*decode_ranks(ranks), (std::vector<int>{7, 1023}));
  EXPECT_EQ(*decode_values(values), (std::vector<std::string>{"a", ""}));
  for (std::size_t n = 0; n < ranks.size(); ++n) EXPECT_FALSE(decode_ranks(ranks.substr(0, n)).ok());
  for (std::size_t n = 0; n < values.size(); ++n) EXPECT_FALSE(decode_values(values.substr(0, n)).ok());
  EXPECT_FALSE(decode_ranks(ranks + "x").ok() || decode_values(values + "x").ok());
}

}  // namespace
}  // namespace cohaul::job
