// All-reduce fused with the update: the same bits as one process, over every kind of channel, shared parameters or not.

#include "cohaul/collective/all_reduce_exchange.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <set>
#include <thread>

#include "cohaul/collective/test_workers.h"

namespace cohaul::collective {
namespace {

std::vector<Case> cases() {
  std::vector<Case> out;
  for (transport::Form form : {transport::Form::arena, transport::Form::tcp})
    for (bool shared : {true, false})
      for (int ranks : {1, 2, 3, 4, 5, 7, 8})
        for (int slices : std::set<int>{ranks, ranks + 1, 2 * ranks, 11}) out.push_back({ranks, slices, shared, form});
  for (const std::vector<int>& hosts : {std::vector{0, 0, 1, 1}, std::vector{0, 1, 0, 1}, std::vector{0, 1, 1, 2, 2, 2},
                                        std::vector{7, 3, 7, 5, 3, 7}, std::vector{0, 1, 1, 1}, std::vector{0, 1, 2}})
    for (transport::Form form : {transport::Form::arena, transport::Form::tcp})
      for (bool shared : {true, false})
        for (int more : {0, 1, 4, 7})
          out.push_back({static_cast<int>(hosts.size()), static_cast<int>(hosts.size()) + more, shared, form, hosts});
  return out;
}

class AllReduceExchange : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Fused, AllReduceExchange, testing::ValuesIn(cases()), case_name);

TEST_P(AllReduceExchange, GivesTheBitsOfOneProcess) {
  const Case& c = GetParam();
  expect_one_process(model(), c, {}, {.samples = c.slices == c.ranks + 1});
}

std::vector<Case> few_cases() {
  using enum transport::Form;
  return {{2, 2, true},
          {2, 3, false},
          {3, 5, true},
          {3, 5, false, tcp},
          {4, 11, false},
          {4, 4, true, tcp, {0, 0, 1, 1}},
          {4, 11, false, arena, {0, 1, 0, 1}},
          {6, 13, true, arena, {0, 1, 1, 2, 2, 2}}};
}
class FewRanks : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Fused, FewRanks, testing::ValuesIn(few_cases()), case_name);

/// One block: all ranks but one own nothing.
TEST_P(FewRanks, GiveThemWhereMostRanksOwnNothing) {
  const Layout layout = *Layout::of({{"only", {5}, DType::float32, true}, {"none", {0}, DType::float32, true}});
  expect_one_process(layout, GetParam(), {}, {});
  expect_one_process(layout, GetParam(), {.non_finite = update::NonFinite::skip}, {});
}

TEST_P(FewRanks, ClipByNormAsOneProcess) {
  for (double norm : {1e-6, 1e9})
    expect_one_process(model(), GetParam(), {.clip_norm = norm}, {.samples = GetParam().slices % 2 == 1});
}

TEST_P(FewRanks, ClipByValueAsOneProcess) { expect_one_process(model(), GetParam(), {.clip_value = 1e-7}, {}); }

TEST_P(FewRanks, SkipAStepThatIsNotFinite) {
  expect_one_process(model(), GetParam(), {.non_finite = update::NonFinite::skip}, {.not_finite_step = 2});
}

TEST_P(FewRanks, StopAlikeWhereAStepIsNotFinite) {
  const Layout layout = model();
  int owner = 0;
  for (; slices_of(GetParam(), owner).first > 1 || slices_of(GetParam(), owner).last <= 1;) ++owner;
  const std::string why = "trainer 0: step 3: the gradient of weight is not finite at worker " + std::to_string(owner) +
                          "; 1 such elements";
  with_workers(
      layout, GetParam(),
      [&](Worker& w, Rank& rank) {
        ASSERT_TRUE(w.steps(0, 2).ok());
        ASSERT_TRUE(rank.group->barrier().ok());  // or a fast one would change shared parameters while they are copied
        const std::vector<std::byte> before(w.parameters.begin(), w.parameters.end());
        const Status stopped = w.step(2).status();
        EXPECT_EQ(stopped.code(), Code::invalid);
        EXPECT_TRUE(stopped.message().starts_with(why)) << stopped.message();
        EXPECT_TRUE(std::ranges::equal(w.parameters, before));
        EXPECT_EQ(w.begin(2).message(), stopped.message());
      },
      {.non_finite = update::NonFinite::stop}, {.not_finite_step = 2});
}

TEST_P(FewRanks, BearTenThousandAbsentParameters) {
  std::vector<update::ParameterSpec> specs;
  for (int p = 0; p < 10'000; ++p) specs.push_back({"p" + std::to_string(p), {2}, DType::float32, true});
  expect_one_process(*Layout::of(std::move(specs)), GetParam(), {}, {.few = true});
}

TEST_P(FewRanks, BearManyBuckets) {
  std::vector<update::ParameterSpec> specs;  // types alternate, so each is a bucket of its own
  for (int p = 0; p < 300; ++p)
    specs.push_back({"p" + std::to_string(p), {3}, p % 2 == 0 ? DType::float32 : DType::float64, true});
  const Layout layout = *Layout::of(std::move(specs));
  ASSERT_EQ(layout.buckets().size(), 300u);
  expect_one_process(layout, GetParam(), {}, {});
}

/// A rank that has pushed everything and not finished may still read its parameters.
TEST_P(FewRanks, WriteNothingBeforeTheSlowestEndsItsStep) {
  const Layout layout = model();
  std::atomic<int> finishing{0};
  with_workers(layout, GetParam(), [&](Worker& w, Rank& rank) {
    ASSERT_TRUE(w.begin(0).ok());
    const std::vector<std::byte> before(w.parameters.begin(), w.parameters.end());
    ASSERT_TRUE(rank.group->barrier().ok());
    ASSERT_TRUE(w.push_all(0).ok());
    if (w.rank == GetParam().ranks - 1) {
      while (finishing < GetParam().ranks - 1) std::this_thread::yield();
      std::this_thread::sleep_for(std::chrono::milliseconds(30));
      EXPECT_TRUE(std::ranges::equal(w.parameters, before));
    }
    ++finishing;
    EXPECT_TRUE(w.finish().ok());
    EXPECT_FALSE(std::ranges::equal(w.parameters, before));
  });
}

TEST_P(FewRanks, KeepTheirPartOfTheStateOnly) {
  const Layout layout = model();
  std::atomic<std::size_t> bytes{0};
  with_workers(layout, GetParam(), [&](Worker& w, Rank&) {
    const Case& c = GetParam();
    bytes += w.exchange->memory_bytes();
    bytes -= ReducePlan(layout, w.rank, c.ranks, c.slices, hosts_of(c), c.shared).sum_bytes;
  });
  Arena memory = *Arena::create("one", layout.bytes());
  EXPECT_EQ(bytes, update::make_local_exchange(layout, optimizer(), {}, memory.bytes())->memory_bytes());
}

class Dying : public testing::TestWithParam<Case> {
 protected:
  static void expect_lost(Worker& w, const Status& why, int lost, int ranks) {
    EXPECT_EQ(why.code(), Code::peer_lost) << why.message();
    for (int r = 0; r < ranks; ++r)
      EXPECT_EQ(why.message().find("worker " + std::to_string(r)) != std::string::npos, r == lost) << why.message();
    bool operation = false;  // the one that meets the loss first
    for (const char* o : {"send a gradient", "finish a step"})
      operation |= why.message().starts_with("trainer 0: " + std::string(o));
    EXPECT_TRUE(operation) << why.message();
    EXPECT_EQ(w.exchange->begin({Step(1000), w.slices}, {}).message(), why.message());
    EXPECT_EQ(w.gradients.push(*w.exchange, 0, 0).message(), why.message());
    EXPECT_EQ(w.finish().status().message(), why.message());
    EXPECT_EQ(w.exchange->abandon().message(), why.message());
    EXPECT_EQ(w.exchange->write(kForever).message(), why.message());
  }
};
INSTANTIATE_TEST_SUITE_P(Fused, Dying,
                         testing::Values(Case{2, 2, true}, Case{4, 4, true}, Case{3, 5, false},
                                         Case{2, 2, false, transport::Form::tcp},
                                         Case{4, 4, false, transport::Form::tcp},
                                         Case{4, 4, true, transport::Form::tcp, {0, 0, 1, 1}},
                                         Case{4, 6, false, transport::Form::arena, {0, 1, 0, 1}}),
                         case_name);

/// Gone before, amid and after the pushes of its third step.
TEST_P(Dying, ARankInMidStepIsNamedByAll) {
  const Case& c = GetParam();
  const Layout layout = model();
  for (std::size_t pushes = 0; pushes <= layout.buckets().size(); pushes += 2) {
    with_workers(layout, c, [&](Worker& w, Rank& rank) {
      if (rank.rank != 1) return expect_lost(w, w.steps(0, 1000), 1, c.ranks);
      ASSERT_TRUE(w.steps(0, 2).ok());
      ASSERT_TRUE(w.begin(2).ok());
      const auto order = w.gradients.pushes(rank.rank, 2);
      for (std::size_t i = 0; i < pushes && i < order.size(); ++i)
        (void)w.gradients.push(*w.exchange, order[i].first, order[i].second);
      w.exchange.reset();
      rank.close();
    });
  }
}

TEST_P(Dying, AKilledProcessIsNamedByAll) {
  const Case& c = GetParam();
  const Layout layout = model();
  for (int round = 0; round < 4; ++round) {
    const auto shared = parameters_of_hosts(layout, c);
    Ranks all({c.form, c.ranks});
    int last = c.ranks - 1;
    auto work = [&](Rank& rank, std::int64_t kill_at, pid_t child) {
      Worker w(layout, c, rank, shared.at(hosts_of(c)[static_cast<std::size_t>(rank.rank)]));
      Status s = w.exchange->start(kForever);
      for (std::int64_t step = 0; s.ok(); ++step) {
        if (step == kill_at) kill(child, SIGKILL);
        s = w.step(step).status();
      }
      if (rank.rank != last) expect_lost(w, s, last, c.ranks);
    };
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      all.run_as_last([&](Rank& rank) { work(rank, -1, 0); });
      _exit(0);
    }
    all.run(0, last, [&](Rank& rank) { work(rank, rank.rank == 0 ? 3 + round : -1, child); });
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
}

TEST(AllReduceLoss, IsToldToThoseWhoHaveAllThatTheyNeedOfTheLost) {
  std::atomic<int> ready{0};
  with_workers(model(), {3, 3}, [&](Worker& w, Rank& rank) {
    ASSERT_TRUE(w.step(0).ok());
    ASSERT_TRUE(w.begin(1).ok());
    ASSERT_TRUE(w.push_all(1).ok());
    ++ready;
    while (ready < 3) std::this_thread::yield();
    if (rank.rank == 1) (void)rank.links->fail(peer_lost("worker 2: connection closed"));
    const Time began = steady_clock().now();
    const Status ended = w.finish().status();
    EXPECT_EQ(ended.code(), Code::peer_lost);
    EXPECT_NE(ended.message().find("worker 2: connection closed"), std::string::npos) << ended.message();
    EXPECT_LT(steady_clock().now() - began, 10 * kSecond);
  });
}

TEST(AllReduceTimeout, NamesWhoIsMissing) {
  std::atomic<int> told{0};
  with_workers(
      model(), {3, 3},
      [&](Worker& w, Rank& rank) {
        ASSERT_TRUE(w.begin(0).ok());
        ASSERT_TRUE(w.push_all(0).ok());
        while (rank.rank == 2 && told < 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        if (rank.rank == 2) return;
        EXPECT_EQ(w.finish().status().message(), "trainer 0: finish a step: no answer from worker 2 within 1.5 s");
        ++told;
      },
      {}, {}, 1'500 * kMillisecond);
}

}  // namespace
}  // namespace cohaul::collective
