// Ranks that do not do the same: each is told so, by name, instead of waiting.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

#include "cohaul/collective/test_workers.h"

namespace cohaul::collective {
namespace {

class Agreement : public testing::TestWithParam<Case> {
 protected:
  static bool is_one(int rank) { return rank == 1; }
};
INSTANTIATE_TEST_SUITE_P(Ranks, Agreement,
                         testing::Values(Case{2, 2, true}, Case{3, 5, false}, Case{2, 3, false, transport::Form::tcp},
                                         Case{4, 5, true, transport::Form::tcp, {0, 0, 1, 1}},
                                         Case{4, 8, false, transport::Form::arena, {0, 1, 0, 1}}),
                         case_name);

void expect_invalid(const Status& s, std::string_view text) {
  EXPECT_EQ(s.code(), Code::invalid) << s.message();
  EXPECT_EQ(s.message(), "trainer 0: " + std::string(text));
}

TEST_P(Agreement, FactsThatDifferAreNamedByAllBeforeAnythingIsWritten) {
  const Layout layout = model();
  with_workers(layout, GetParam(), [&](Worker& w, Rank& rank) {
    const std::string facts = "loop=0\ntrain.batch=100\ntrain.lr=0.1\n";
    ASSERT_TRUE(w.step(0, facts).ok());
    ASSERT_TRUE(w.step(1).ok());
    ASSERT_TRUE(rank.group->barrier().ok());
    const std::vector<std::byte> before(w.parameters.begin(), w.parameters.end());
    const Status s = w.step(2, is_one(w.rank) ? "loop=0\ntrain.batch=64\ntrain.lr=0.1\n" : facts).status();
    expect_invalid(s, "train.batch is 100 at worker 0 and 64 at worker 1: it must be the same at all workers");
    EXPECT_TRUE(std::ranges::equal(w.parameters, before));
    EXPECT_EQ(w.push_all(2).message(), s.message());
  });
}

TEST_P(Agreement, LongFactsAreCompared) {
  const std::string same(100'000, 'x');
  with_workers(model(), GetParam(), [&](Worker& w, Rank&) {
    ASSERT_TRUE(w.step(0, "a=" + same).ok());
    ASSERT_TRUE(w.step(1).ok());
    const Status s = w.step(2, "long=" + same + "\nb=" + (is_one(w.rank) ? "1" : "0")).status();
    expect_invalid(s, "b is 0 at worker 0 and 1 at worker 1: it must be the same at all workers");
  });
}

TEST_P(Agreement, ALoopThatOthersDoNotBeginIsNamedByAll) {
  with_workers(model(), GetParam(), [&](Worker& w, Rank&) {
    ASSERT_TRUE(w.step(0, "loop=0\n").ok());
    const Status s = w.step(1, is_one(w.rank) ? "" : "loop=1\n").status();
    expect_invalid(
        s,
        "worker 0 begins a new loop after 1 steps, worker 1 goes on in its own: all workers must do the same "
        "loops");
  });
}

TEST_P(Agreement, EitherAllSayTheirSamplesOrNone) {
  with_workers(model(), GetParam(), [&](Worker& w, Rank&) {
    ASSERT_TRUE(w.begin(0).ok());
    ASSERT_TRUE(w.push_all(0).ok());
    std::vector<update::PartEnd> ends(w.gradients.ends().begin(), w.gradients.ends().end());
    for (update::PartEnd& end : ends) end.samples = is_one(w.rank) ? 3 : 0;
    expect_invalid(
        w.exchange->finish(ends).status(),
        "step 1: worker 1 says over how many samples it is to be averaged, worker 0 has averaged already: all "
        "workers must do the same");
  });
}

/// The one that left is gone, its connection closed; or still there.
TEST_P(Agreement, ARankThatLeftIsNamedAtOnce) {
  for (bool gone : {true, false}) {
    std::atomic<int> told{0};
    const Layout layout = model();
    with_workers(layout, GetParam(), [&](Worker& w, Rank& rank) {
      ASSERT_TRUE(w.steps(0, 3).ok());
      if (is_one(w.rank)) {
        w.exchange.reset();
        if (gone) rank.close();
        while (told < GetParam().ranks - 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return;
      }
      const Status s = w.step(3).status();
      ++told;
      expect_invalid(
          s,
          "worker 1 left after 3 steps (its loop, its trainer or its job ended), while this worker is in step "
          "4: all workers must do the same steps");
      EXPECT_EQ(w.begin(4).message(), s.message());
    });
  }
}

TEST_P(Agreement, ARankThatLeftIsNamedByWhoWrites) {
  std::atomic<int> told{0};
  with_workers(model(), {2, 2, GetParam().shared, GetParam().form}, [&](Worker& w, Rank& rank) {
    ASSERT_TRUE(w.steps(0, 2).ok());
    if (w.rank == 1) {
      w.exchange.reset();
      while (told < 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return;
    }
    const Status s = w.exchange->write(kForever);
    ++told;
    expect_invalid(
        s,
        "worker 1 left after 2 steps (its loop, its trainer or its job ended), while this worker waits until "
        "all have the parameters of worker 0: all workers must do the same steps");
    EXPECT_EQ(rank.group->barrier().message(), s.message().substr(std::string("trainer 0: ").size()));
  });
}

TEST_P(Agreement, AGroupNamesWhoLeft) {
  with_workers(model(), {2, 2}, [&](Worker& w, Rank& rank) {
    ASSERT_TRUE(rank.group->barrier().ok());  // or the exchange of the other would hear it, still in its start
    if (w.rank == 1) return w.exchange.reset();
    const Status s = rank.group->barrier();
    EXPECT_EQ(s.message(), "barrier: worker 1 left after 0 steps (its loop, its trainer or its job ended)");
  });
}

TEST_P(Agreement, OneThatClosesInAStepWithoutAWordIsLost) {
  std::atomic<int> through{0};
  with_workers(model(), GetParam(), [&](Worker& w, Rank& rank) {
    ASSERT_TRUE(w.steps(0, 2).ok());
    ++through;
    if (is_one(w.rank)) {
      // A rank that hears of the loss from another may still be in the step before.
      while (through < GetParam().ranks) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ASSERT_TRUE(w.begin(2).ok());
      w.exchange.reset();
      return rank.close();
    }
    EXPECT_EQ(w.step(2).status().code(), Code::peer_lost);
  });
}

/// All give it up before the first gradient has gone, and do it again; then the next one.
TEST_P(Agreement, AStepOfWhichNothingWasSentMayBeGivenUp) {
  const Layout layout = model();
  const Reference expected = one_process(layout, GetParam().slices, 2, {}, {});
  with_workers(layout, GetParam(), [&](Worker& w, Rank&) {
    EXPECT_TRUE(w.exchange->abandon().ok());
    ASSERT_TRUE(w.begin(0, "a=" + std::to_string(w.rank)).ok());  // what is given up is not compared
    ASSERT_TRUE(w.exchange->abandon().ok());
    ASSERT_TRUE(w.step(0, "loop=0\n").ok());
    ASSERT_TRUE(w.begin(1).ok());
    ASSERT_TRUE(w.exchange->abandon().ok());
    ASSERT_TRUE(w.step(1).ok());
    EXPECT_TRUE(std::ranges::equal(w.parameters, expected.parameters));
  });
}

/// With one bucket, its gradient goes with the end of the step: until then nothing has gone.
TEST_P(Agreement, AGradientThatIsHeldBackMayBeGivenUp) {
  const Layout layout = *Layout::of({{"weight", {784, 10}, DType::float32, true}});
  with_workers(layout, {2, 2, GetParam().shared, GetParam().form}, [&](Worker& w, Rank&) {
    ASSERT_TRUE(w.begin(0).ok());
    ASSERT_TRUE(w.push_all(0).ok());
    ASSERT_TRUE(w.exchange->abandon().ok());
    EXPECT_TRUE(w.steps(0, 3).ok());
    ASSERT_TRUE(w.begin(3).ok());
    ASSERT_TRUE(w.exchange->abandon().ok());
    EXPECT_TRUE(w.steps(4, 6).ok()) << "the next step";
  });
}

TEST_P(Agreement, AStepOfWhichSomethingWasSentIsLostForAll) {
  std::atomic<int> told{0};
  with_workers(model(), GetParam(), [&](Worker& w, Rank& rank) {
    ASSERT_TRUE(w.steps(0, 1).ok());
    ASSERT_TRUE(rank.group->barrier().ok());  // or one hears of it while it still ends the step before
    Status s = w.begin(1);
    if (s.ok()) s = w.push_all(1, is_one(w.rank) ? 1 : 0);
    if (s.ok()) s = is_one(w.rank) ? w.exchange->abandon() : w.finish().status();
    expect_invalid(
        s,
        "worker 1 gave up step 2, of which gradients had gone to others: nothing more can be done with this trainer");
    EXPECT_EQ(w.begin(1).message(), s.message());
    for (++told; told < GetParam().ranks;) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
}

/// One has given up a step alone: the others are in another step than it is.
TEST_P(Agreement, StepsThatDifferAreNamed) {
  std::atomic<int> told{0};
  with_workers(model(), {2, 2, GetParam().shared, GetParam().form}, [&](Worker& w, Rank&) {
    ASSERT_TRUE(w.steps(0, 1).ok());
    if (w.rank == 0) {
      expect_invalid(
          w.step(1).status(),
          "worker 1 is in step 3, without an end of step 2, in which this worker is: all workers must do the "
          "same steps");
    } else {
      ASSERT_TRUE(w.begin(1).ok());
      ASSERT_TRUE(w.exchange->abandon().ok());
      ASSERT_TRUE(w.begin(2).ok());
      (void)w.gradients.push(*w.exchange, 0, 0);
    }
    for (++told; told < 2;) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
}

TEST_P(Agreement, WrittenParametersAreEverybodys) {
  const Layout layout = model();
  with_workers(layout, GetParam(), [&](Worker& w, Rank& rank) {
    for (std::int64_t s = 0; s < 6; s += 2) {
      ASSERT_TRUE(w.steps(s, s + 2).ok());
      ASSERT_TRUE(rank.group->barrier().ok());
      if (w.rank == 0) fill(w.parameters, 40 + static_cast<int>(s));
      ASSERT_TRUE(w.exchange->write(steady_clock().now() + Ranks::kLong).ok());
      std::vector<std::byte> expected(layout.bytes());
      fill(expected, 40 + static_cast<int>(s));
      EXPECT_TRUE(std::ranges::equal(w.parameters, expected));
      ASSERT_TRUE(rank.group->barrier().ok());  // or a fast one would change what is shared
    }
  });
}

/// `writer` writes while the others are in a step.
void expect_both_told(const Case& c, int writer) {
  std::atomic<int> told{0};
  with_workers(model(), {2, 2, c.shared, c.form}, [&](Worker& w, Rank&) {
    ASSERT_TRUE(w.steps(0, 2).ok());
    const Status s = w.rank == writer ? w.exchange->write(kForever) : w.step(2).status();
    expect_invalid(s, "worker " + std::to_string(writer) + " writes the parameters of worker 0 to all while worker " +
                          std::to_string(1 - writer) +
                          " is in step 3: all workers must do the same, in the same order");
    for (++told; told < 2;) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
}
TEST_P(Agreement, WhoWritesWhileAnotherIsInAStepIsTold) {
  for (int writer : {0, 1}) expect_both_told(GetParam(), writer);
}

TEST_P(Agreement, AGroupsOperationIsNotTakenForAnEnd) {
  std::atomic<int> told{0};
  with_workers(model(), {2, 2, GetParam().shared, GetParam().form}, [&](Worker& w, Rank& rank) {
    if (w.rank == 0) {
      expect_invalid(w.step(0).status(),
                     "finish a step: worker 1 calls an operation of a group: all workers must do the same, in the same "
                     "order");
    } else {
      std::vector<float> data(10);
      EXPECT_TRUE(rank.group->send(buffer(std::span(data)), 0).ok());
    }
    for (++told; told < 2;) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
}

/// One rank comes late to it. A rank that is done with it may be in a group's operation already.
TEST_P(Agreement, AGroupsOperationMayFollowAtOnce) {
  with_workers(model(), GetParam(), [&](Worker& w, Rank& rank) {
    for (int i = 0; i < 20; ++i) {
      ASSERT_TRUE(w.step(i).ok());
      ASSERT_TRUE(rank.group->barrier().ok());
      ASSERT_TRUE(w.exchange->write(kForever).ok());
      std::vector<float> data(10, 1);
      ASSERT_TRUE(rank.group->all_reduce(buffer(std::span(data))).ok());
      EXPECT_EQ(data[0], GetParam().ranks);
    }
  });
}

/// start and write end at their own deadline.
TEST_P(Agreement, DeadlinesAreKept) {
  Arena shared = *Arena::create("parameters", model().bytes());
  const Layout layout = model();
  for (bool write : {false, true}) {
    for (int absent : {0, 1}) {
      Ranks all({GetParam().form, 2});
      std::atomic<bool> told{false};
      all.run([&](Rank& rank) {
        Worker w(layout, {2, 2, GetParam().shared, GetParam().form}, rank, shared);
        while (rank.rank == absent && !told) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        if (rank.rank == absent) return;
        const Time deadline = steady_clock().now() + 200 * kMillisecond;
        const Status s = write ? w.exchange->write(deadline) : w.exchange->start(deadline);
        told = true;
        EXPECT_EQ(s.code(), Code::peer_lost);
        const std::string operation =
            write ? "give the parameters of worker 0 to all" : "start from the parameters of worker 0";
        EXPECT_TRUE(s.message().starts_with("trainer 0: " + operation + ": no answer from worker " +
                                            std::to_string(absent) + " within 0."))
            << s.message();
      });
    }
  }
}

TEST(AllReduceOptions, ThatMakeNoSenseAreRefused) {
  const Layout layout = model();
  Ranks all({transport::Form::arena, 2});
  all.run([&](Rank& rank) {
    Arena memory = *Arena::create("memory", layout.bytes());
    auto refused = [&](const update::OptimizerSettings& r, const AllReduceOptions& options) {
      return make_all_reduce_exchange(layout, r, memory.bytes().first(layout.bytes()), *rank.links, options).status();
    };
    EXPECT_EQ(refused(optimizer(), {.slices = 1}).message(), "a step of 1 slices for 2 workers: each needs one");
    EXPECT_EQ(refused(optimizer(), {.slices = 2, .policy = {.clip_norm = -1}}).code(), Code::invalid);
    EXPECT_EQ(refused(update::RuleSettings{.momentum = -1}, {.slices = 2}).code(), Code::invalid);
    auto made =
        make_all_reduce_exchange(layout, optimizer(), memory.bytes().first(layout.bytes()), *rank.links, {.slices = 3});
    ASSERT_TRUE(made.ok());
    EXPECT_EQ((*made)->begin({Step(0), {0, 3, 3}}, {}).code(), Code::invalid) << "another's slices";
    EXPECT_TRUE((*made)->begin({Step(0), update::slices_of(3, rank.rank, 2)}, {}).ok());
    EXPECT_TRUE(rank.group->barrier().ok());
  });
}

}  // namespace
}  // namespace cohaul::collective
