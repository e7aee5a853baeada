// Tests of several trainers of a job: one after the other and at once, their loops, their ends, and that nothing of them is left.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <thread>

#include "cohaul/ps/client.h"
#include "cohaul/ps/service.h"
#include "cohaul/ps/test_job.h"
#include "cohaul/ps/test_training.h"

namespace cohaul::ps {
namespace {

using Kinds = Consistency::Kind;
using Exchange = std::unique_ptr<ServerExchange>;

/// Runs the members of a job as threads, including server processes if there are any.
class TestTown {
 public:
  explicit TestTown(int workers, int servers = 0) : workers_(workers) {
    for (int k = 0; k < servers; ++k) {
      jobs_.push_back(std::make_unique<TestJob>(meeting, test_options(transport::Role::server, k, workers, servers)));
      services_.push_back(std::move(*Service::listen(*jobs_.back(), ServerRank(k))));
      threads_.emplace_back([it = services_.back().get()] {
        Status served = it->run();
        EXPECT_TRUE(served.ok()) << served.message();
      });
    }
    for (int w = 0; w < workers; ++w)
      jobs_.push_back(std::make_unique<TestJob>(meeting, test_options(transport::Role::worker, w, workers, servers)));
  }
  ~TestTown() {
    for (auto& s : services_) s->stop();
    for (auto& t : threads_) t.join();
  }
  /// Calls f for every worker, each on a thread of its own.
  std::vector<Status> run(const std::function<Status(job::Job&)>& f) {
    std::vector<Status> ends(static_cast<std::size_t>(workers_));
    std::vector<std::thread> threads;
    for (int w = 0; w < workers_; ++w) {
      threads.emplace_back([&, w] {
        job::Job& job = *jobs_[jobs_.size() - static_cast<std::size_t>(workers_ - w)];
        ends[w] = f(job);
      });
    }
    for (auto& t : threads) t.join();
    return ends;
  }
  void expect_ok(const std::function<Status(job::Job&)>& f) {
    for (const Status& s : run(f)) EXPECT_TRUE(s.ok()) << s.message();
  }
  TestMeeting meeting;

 private:
  const int workers_;
  std::vector<std::unique_ptr<TestJob>> jobs_;
  std::vector<std::unique_ptr<Service>> services_;
  std::vector<std::thread> threads_;
};

Time soon() { return steady_clock().now() + 20 * kSecond; }

const update::Layout& layout() {
  static const update::Layout it = test_layout();
  return it;
}

/// The exchange of a trainer at one worker.
struct Trainer {
  TestMemory memory{layout()};
  Exchange exchange;

  Status open(job::Job& job, Options options, std::uint64_t seed = 10) {
    if (job.rank() == 0) set_initial(layout(), memory.parameters, seed);
    options.lend = {&memory.arena};
    COHAUL_ASSIGN(exchange, make_server_exchange(job, layout(), momentum(), memory.parameters, options));
    return exchange->start(soon());
  }
  /// Does a step. Returns false if there was none.
  Result<bool> step(const update::Loop& loop) {
    COHAUL_ASSIGN(std::optional<update::Work> next, exchange->next(loop));
    if (!next) return false;
    COHAUL_TRY(one_step(*exchange, layout(), *next, memory, {}).status());
    return true;
  }
  /// Trains a loop, and returns how many of its steps this worker did.
  Result<std::int64_t> train(const update::Loop& loop) {
    for (std::int64_t steps = 0;; ++steps) {
      COHAUL_ASSIGN(bool some, step(loop));
      if (!some) return steps;
    }
  }
  std::vector<std::byte> values() const { return values_of(layout(), memory.parameters); }
};

TEST(Trainers, TwoAtOnceOnTheSameServersDoNotSeeEachOther) {
  const Trained alone = train_alone(layout(), {}, {}, 3, 4);
  for (int processes : {0, 2}) {
    TestTown town(2, processes);
    town.expect_ok([&](job::Job& job) -> Status {
      Trainer a, b;
      Options options{.servers = 2, .slices = 3};
      COHAUL_TRY(a.open(job, options));
      options.trainer = 1;
      options.consistency = {Kinds::async, 0};
      COHAUL_TRY(b.open(job, options, 77));
      for (std::int64_t s = 0; s < 4; ++s) {
        COHAUL_TRY(a.step({.end = 4}).status());
        COHAUL_TRY(b.step({.end = 20}).status());
      }
      EXPECT_EQ(a.values(), alone.values);
      COHAUL_TRY(a.exchange->close());
      COHAUL_TRY(b.train({.end = 20}).status());
      COHAUL_ASSIGN(Counts counts, b.exchange->counts());
      EXPECT_EQ(counts.coordinator.pushes, 20);
      COHAUL_TRY(b.exchange->close());
      return job.close();
    });
  }
}

TEST(Trainers, SynchronousLoopsAreCountedHereAndMayBeLeft) {
  const Trained alone = train_alone(layout(), {}, {}, 2, 5);
  TestTown town(2);
  town.expect_ok([&](job::Job& job) -> Status {
    Trainer t;
    COHAUL_TRY(t.open(job, {.slices = 2}));
    const update::Loop first{.first = 0, .end = 10};
    for (int i = 0; i < 2; ++i) COHAUL_TRY(t.step(first).status());
    COHAUL_ASSIGN(auto next, t.exchange->next(first));
    EXPECT_EQ(next->step, Step(2)) << "handed out, and taken back";
    COHAUL_TRY(t.exchange->begin(*next, {}));
    COHAUL_TRY(t.exchange->abandon());
    COHAUL_TRY(t.exchange->leave_loop(true));
    EXPECT_EQ(t.exchange->loop(), (LoopState{0, 0, 2, 2}));
    COHAUL_ASSIGN(auto none, t.exchange->next(first));
    EXPECT_FALSE(none);
    COHAUL_ASSIGN(std::int64_t steps, t.train({.first = 2, .end = 5, .number = 1}));
    EXPECT_EQ(steps, 3);
    EXPECT_EQ(t.exchange->updates_done(), 5);
    EXPECT_EQ(t.values(), alone.values);
    COHAUL_TRY(t.exchange->close());
    return job.close();
  });
}

TEST(Trainers, AnAsynchronousLoopThatOneLeavesIsDoneByTheOthers) {
  for (Consistency consistency : {Consistency{Kinds::async, 0}, Consistency{Kinds::bounded, 1}}) {
    TestTown town(3);
    std::atomic<std::int64_t> steps = 0;
    town.expect_ok([&](job::Job& job) -> Status {
      Trainer t;
      COHAUL_TRY(t.open(job, {.consistency = consistency, .servers = 2}));
      const update::Loop loop{.end = 12};
      if (job.rank() == 1) {
        COHAUL_ASSIGN(auto next, t.exchange->next(loop));  // if a step is granted, it is returned
        EXPECT_TRUE(next || t.exchange->updates_done() == 12);
        COHAUL_TRY(t.exchange->leave_loop(false));
        COHAUL_ASSIGN(auto none, t.exchange->next(loop));
        EXPECT_FALSE(none);
      } else {
        COHAUL_ASSIGN(std::int64_t mine, t.train(loop));
        steps += mine;
        EXPECT_EQ(t.exchange->loop(), (LoopState{0, 0, 12, 12}));
      }
      COHAUL_ASSIGN(std::int64_t mine, t.train({.first = 12, .end = 18, .number = 1}));
      steps += mine;
      EXPECT_EQ(t.exchange->loop(), (LoopState{1, 12, 18, 18}));
      COHAUL_TRY(t.exchange->close());
      return job.close();
    });
    EXPECT_EQ(steps, 18);
  }
}

TEST(Trainers, AStopEndsAnAsynchronousLoopForAll) {
  TestTown town(2);
  std::atomic<std::int64_t> ends[2];
  town.expect_ok([&](job::Job& job) -> Status {
    Trainer t;
    COHAUL_TRY(t.open(job, {.consistency = {Kinds::async, 0}}));
    const update::Loop loop{.end = 1'000'000};
    if (job.rank() == 0) {
      for (int i = 0; i < 3; ++i) COHAUL_TRY(t.step(loop).status());
      COHAUL_TRY(t.exchange->leave_loop(true));
    } else {
      COHAUL_TRY(t.train(loop).status());
      ends[0] = t.exchange->loop().end;
      EXPECT_EQ(t.exchange->updates_done(), ends[0]);
    }
    COHAUL_TRY(t.train({.end = 2, .number = 1}).status());
    if (job.rank() == 1) ends[1] = t.exchange->loop().end;
    COHAUL_TRY(t.exchange->close());
    return job.close();
  });
  EXPECT_GE(ends[0], 3);
  EXPECT_EQ(ends[1], ends[0] + 2);
}

TEST(Trainers, DifferentFactsOfALoopAreRefusedAtAllWorkers) {
  for (Kinds kind : {Kinds::sync, Kinds::async}) {
    TestTown town(2);
    std::atomic<int> failed = 0;
    auto ends = town.run([&](job::Job& job) -> Status {
      Trainer t;
      COHAUL_TRY(t.open(job, {.consistency = {kind, 0}, .slices = 2}));
      const std::string facts = "train.batch=" + std::to_string(64 + job.rank()) + "\n";
      const update::Loop loop{.end = 4, .facts = facts};
      const auto train = [&]() -> Status {
        COHAUL_ASSIGN(auto next, t.exchange->next(loop));
        if (next) COHAUL_TRY(one_step(*t.exchange, layout(), *next, t.memory, {}, facts).status());
        return kind == Kinds::sync ? Status() : t.train(loop).status();
      };
      Status end = train();
      ++failed;
      while (failed < 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // the servers live until then
      return end;
    });
    for (const Status& end : ends) {
      EXPECT_EQ(end.code(), Code::invalid);
      EXPECT_NE(end.message().find("train.batch is 6"), std::string::npos) << end.message();
    }
  }
}

TEST(Trainers, WrittenParametersReachAllAndTheServers) {
  for (Consistency consistency : {Consistency{Kinds::sync, 0}, Consistency{Kinds::async, 0}}) {
    TestTown town(2, 1);
    std::vector<std::byte> values[2];
    std::atomic<int> met[3] = {};
    town.expect_ok([&](job::Job& job) -> Status {
      const auto meet = [&](int where) {
        ++met[where];
        while (met[where] < 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      };
      Trainer t;
      COHAUL_TRY(t.open(job, {.consistency = consistency, .slices = 2}));
      COHAUL_TRY(t.train({.end = 3}).status());
      meet(0);
      if (job.rank() == 0) {
        set_initial(layout(), t.memory.parameters, 500);
        COHAUL_TRY(t.exchange->write(soon()));
      }
      meet(1);
      if (job.rank() != 0) COHAUL_TRY(t.exchange->write(soon()));
      // All parameters except those that are not trained: these are worker 0's from the start.
      const update::Layout& l = layout();
      TestMemory expected(l);
      set_initial(l, expected.parameters, 500);
      for (std::int32_t p : {0, 1, 3, 4, 5}) {
        const auto at = l.offset(p), n = l.bytes(p);
        EXPECT_EQ(std::memcmp(t.memory.parameters.data() + at, expected.parameters.data() + at, n), 0) << p;
      }
      meet(2);
      COHAUL_TRY(t.train({.end = consistency.kind == Kinds::sync ? 5 : 2, .number = 1}).status());
      COHAUL_TRY(t.exchange->refresh(soon()));
      values[job.rank()].assign(t.memory.parameters.begin(), t.memory.parameters.begin() + 64);
      COHAUL_TRY(t.exchange->close());
      return job.close();
    });
    EXPECT_EQ(values[0], values[1]);
  }
}

TEST(Trainers, AStepThatHasBeenSentCannotBeGivenUpAndTheErrorStays) {
  TestTown town(1);
  town.expect_ok([&](job::Job& job) -> Status {
    Trainer t;
    COHAUL_TRY(t.open(job, {}));
    COHAUL_TRY(t.exchange->begin({Step(0), {0, 1, 1}}, {}));
    COHAUL_TRY(push_all(*t.exchange, layout(), {Step(0), {0, 1, 1}}, t.memory, {}));
    Status given_up = t.exchange->abandon();
    EXPECT_EQ(given_up.code(), Code::invalid);
    EXPECT_EQ(t.exchange->next({.end = 1}).status().message(), given_up.message());
    return {};
  });
}

TEST(Trainers, StartEndsAtItsDeadline) {
  TestMeeting meeting;
  TestJob job(meeting, test_options(transport::Role::worker, 1, 2, 1));
  TestJob server_job(meeting, test_options(transport::Role::server, 0, 2, 1));
  auto service = std::move(*Service::listen(server_job, ServerRank(0)));
  std::thread serving([&] { (void)service->run().ok(); });
  Trainer t;
  t.exchange = std::move(*make_server_exchange(job, layout(), momentum(), t.memory.parameters, {.slices = 2}));
  const Time begin = steady_clock().now();
  Status started = t.exchange->start(begin + 200 * kMillisecond);  // worker 0 never comes
  EXPECT_EQ(started.code(), Code::peer_lost);
  EXPECT_EQ(started.message().find("start: no answer before the deadline; still missing: server 0"), 0u)
      << started.message();
  EXPECT_LT(steady_clock().now() - begin, 5 * kSecond);
  service->stop();
  serving.join();
}

/// A watch that knows that a worker will not come to the step.
struct Absence final : Watch {
  Status health() const override {
    ++asked;
    return peer_lost("worker 1 is not in this step");
  }
  bool set_waiting(bool waiting) override {
    waits |= waiting;
    return false;
  }
  Status overdue(Duration) override { return {}; }
  mutable int asked = 0;
  bool waits = false;
};

TEST(Trainers, WaitsAskTheWatchThatWasHandedIn) {
  TestTown town(1);
  town.expect_ok([&](job::Job& job) -> Status {
    Absence absence;
    Trainer t;
    Options options;
    options.watch = &absence;
    Status opened = t.open(job, options);
    EXPECT_TRUE(absence.waits);
    if (absence.asked > 0) {
      EXPECT_NE(opened.message().find("worker 1 is not in this step"), std::string::npos) << opened.message();
    }
    EXPECT_GT(absence.asked, 0) << "the server is another thread, so something is waited for";
    return {};
  });
}

int descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<int>(std::distance(begin(all), end(all)));
}

int mappings() {
  std::ifstream maps("/proc/self/maps");
  return static_cast<int>(std::count(std::istreambuf_iterator<char>(maps), {}, '\n'));
}

/// Returns the count when it no longer exceeds `at_most`, or after two seconds.
int settled(const std::function<int()>& count, int at_most) {
  for (int i = 0; i < 2000 && count() > at_most; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return count();
}

void one_trainer(job::Job& job, int number, bool closes) {
  Trainer t;
  Options options{.servers = 2, .trainer = number};
  ASSERT_TRUE(t.open(job, options).ok());
  auto trained = t.train({.end = 1});
  ASSERT_TRUE(trained.ok()) << trained.status().message();
  if (closes) {
    ASSERT_TRUE(t.exchange->close().ok());
  }
}

// Mappings of the heap. If each trainer left one, there would be 47 more. The address sanitizer maps more memory, and the thread sanitizer keeps some
// for every thread that ever ran, so its mappings show nothing.
#if defined(__SANITIZE_THREAD__)
constexpr int kOthersMappings = 1000;
#elif defined(__SANITIZE_ADDRESS__)
constexpr int kOthersMappings = 40;
#else
constexpr int kOthersMappings = 8;
#endif

TEST(Trainers, FiftyOneAfterTheOtherLeaveNoMoreBehindThanOne) {
  for (int processes : {0, 2}) {
    for (bool closes : {true, false}) {
      TestTown town(1, processes);
      town.expect_ok([&](job::Job& job) -> Status {
        int trainer = 0;
        // Memory that is kept for later trainers is allocated now.
        for (; trainer < 3; ++trainer) one_trainer(job, trainer, closes);
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        const int fds = descriptors(), maps = mappings();
        for (; trainer < 50; ++trainer) one_trainer(job, trainer, closes);
        EXPECT_LE(settled(descriptors, fds), fds) << (closes ? "closed" : "destroyed") << ", " << processes;
        EXPECT_LE(settled(mappings, maps + kOthersMappings), maps + kOthersMappings);
        return job.close();
      });
    }
  }
}

TEST(Trainers, ThreadsGoOnUntilThePeersAreThrough) {
  TestTown town(2);
  std::atomic<bool> gone = false;
  town.expect_ok([&](job::Job& job) -> Status {
    {
      Trainer t;
      COHAUL_TRY(t.open(job, {.consistency = {Kinds::async, 0}}));
      if (job.rank() == 1) {
        while (!gone) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        COHAUL_ASSIGN(std::int64_t steps, t.train({.end = 5}));
        EXPECT_EQ(steps, 5);
      }
    }
    gone = true;  // worker 0, which runs the server's thread
    return job.close();
  });
}

}  // namespace
}  // namespace cohaul::ps
