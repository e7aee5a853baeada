#include "cohaul/ps/coordinator.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace cohaul::ps {
namespace {

using Kinds = Consistency::Kind;

/// The coordinator of a few workers, and the last message to each.
class Office final : ToWorkers {
 public:
  struct Told {
    Kind kind{};
    std::int64_t key = 0;
    LoopState loop;
    std::string refusal;
    double loss = 0;
  };
  explicit Office(Kinds kind, std::int32_t workers = 2, std::int32_t slices = 1)
      : slices_(slices), clocks_(workers), coordinator_({kind, 0}, workers, slices, *this) {}

  Status ask(std::int32_t w, std::int64_t loop, std::int64_t steps, std::string_view facts = {}) {
    return coordinator_.ready(WorkerRank(w), clocks_[w], {loop, steps, 1, facts}, 0);
  }
  Status leave(std::int32_t w, std::int64_t loop, bool stop) {
    return coordinator_.leave_loop(WorkerRank(w), clocks_[w], {loop, stop}, 0);
  }
  Status done(std::int32_t w, std::int64_t step) {
    StepDone done{.slices = {0, slices_, slices_}};
    const update::PartEnd end{.loss = 0.5};
    done.set({&end, 1});
    Status taken = coordinator_.step_done(WorkerRank(w), Step(step), done, 0);
    if (taken.ok()) ++clocks_[w];
    return taken;
  }
  /// Ends a step of a worker; synchronous, with two workers that have one slice each.
  Status end(std::int32_t w, std::int64_t step, std::string_view facts, double loss, double samples) {
    StepDone done{.slices = {w, w + 1, 2}, .facts = facts};
    const update::PartEnd end{loss, samples};
    done.set({&end, 1});
    return coordinator_.step_done(WorkerRank(w), Step(step), done, 0);
  }
  /// Returns the last message to a worker since the last call.
  std::optional<Told> told(std::int32_t w) {
    auto node = told_.extract(w);
    if (node.empty()) return std::nullopt;
    return node.mapped();
  }
  std::int64_t granted(std::int32_t w) {
    auto t = told(w);
    return t && t->kind == Kind::grant ? t->key : -1;
  }
  Coordinator& coordinator() { return coordinator_; }

 private:
  void send(WorkerRank to, const transport::Message& m) override {
    if (static_cast<Kind>(m.kind) == Kind::update_report) return;
    Told told{static_cast<Kind>(m.kind), static_cast<std::int64_t>(m.key), {}, {}, 0};
    if (told.kind == Kind::refused) told.refusal = Refusal::decode(m.body)->why;
    else if (told.kind == Kind::step_report) told.loss = StepReport::decode(m.body)->loss;
    else told.loop = *LoopState::decode(m.body);
    told_[to.value] = told;
  }
  std::int32_t slices_;
  std::vector<std::int64_t> clocks_;
  std::map<std::int32_t, Told> told_;
  Coordinator coordinator_;
};

TEST(Loops, ALoopIsOverWhenAllOfItsStepsAreDone) {
  Office office(Kinds::async);
  ASSERT_TRUE(office.ask(0, 0, 2).ok());
  ASSERT_TRUE(office.ask(1, 0, 2).ok());
  EXPECT_EQ(office.granted(0), 0);
  EXPECT_EQ(office.granted(1), 1);
  ASSERT_TRUE(office.done(0, 0).ok());
  ASSERT_TRUE(office.ask(0, 0, 2).ok());
  EXPECT_FALSE(office.told(0)) << "worker 1 is not through";
  ASSERT_TRUE(office.done(1, 1).ok());
  auto told = office.told(0);
  ASSERT_TRUE(told);
  EXPECT_EQ(told->kind, Kind::finished);
  EXPECT_EQ(told->loop, (LoopState{0, 0, 2, 2}));
}

TEST(Loops, TheNextBeginsWhenAllHaveLeftAndWhereTheLastEnded) {
  Office office(Kinds::async);
  ASSERT_TRUE(office.ask(0, 0, 1).ok());
  ASSERT_TRUE(office.done(0, office.granted(0)).ok());
  ASSERT_TRUE(office.ask(0, 0, 1).ok());
  EXPECT_EQ(office.told(0)->kind, Kind::finished);
  ASSERT_TRUE(office.ask(0, 1, 3).ok());
  EXPECT_FALSE(office.told(0)) << "worker 1 has not left loop 0";
  ASSERT_TRUE(office.ask(1, 0, 1).ok());
  EXPECT_EQ(office.told(1)->kind, Kind::finished);
  auto told = office.told(0);
  ASSERT_TRUE(told && told->kind == Kind::grant);
  EXPECT_EQ(told->key, 1);
  EXPECT_EQ(told->loop, (LoopState{1, 1, 4, 1}));
}

TEST(Loops, ALoopThatIsNotFinishedDoesNotHoldBackInABound) {
  Office office(Kinds::bounded);
  ASSERT_TRUE(office.ask(0, 0, 3).ok());
  ASSERT_TRUE(office.leave(0, 0, false).ok());
  EXPECT_EQ(office.told(0)->kind, Kind::left);
  ASSERT_TRUE(office.ask(0, 1, 1).ok()) << "it waits for loop 1 with clock 0";
  for (std::int64_t s = 0; s < 3; ++s) {
    ASSERT_TRUE(office.ask(1, 0, 3).ok());
    std::int64_t step = office.granted(1);
    ASSERT_EQ(step, s) << "worker 0's step came back";
    ASSERT_TRUE(office.done(1, step).ok());
  }
  EXPECT_FALSE(office.told(0));
  ASSERT_TRUE(office.ask(1, 0, 3).ok());
  EXPECT_EQ(office.granted(0), 3);
}

TEST(Loops, AStopEndsTheLoopForAllAtWhatWasDone) {
  Office office(Kinds::async, 3);
  for (std::int32_t w : {0, 1, 2}) ASSERT_TRUE(office.ask(w, 0, 100).ok());
  ASSERT_TRUE(office.done(1, 1).ok());
  ASSERT_TRUE(office.done(2, 2).ok());
  ASSERT_TRUE(office.ask(1, 0, 100).ok());
  EXPECT_EQ(office.granted(1), 3);
  (void)office.told(2);
  ASSERT_TRUE(office.leave(0, 0, true).ok());
  auto left = office.told(0);
  ASSERT_TRUE(left && left->kind == Kind::left);
  EXPECT_EQ(left->loop.updates_done, 2);
  ASSERT_TRUE(office.ask(2, 0, 100).ok());
  EXPECT_FALSE(office.told(2)) << "worker 1 is in the last step";
  ASSERT_TRUE(office.done(1, 3).ok());
  auto told = office.told(2);
  ASSERT_TRUE(told && told->kind == Kind::finished);
  EXPECT_EQ(told->loop, (LoopState{0, 0, 3, 3}));
  ASSERT_TRUE(office.ask(1, 0, 100).ok());
  EXPECT_EQ(office.told(1)->kind, Kind::finished);
  // Step 0 was returned, and is granted again in the next loop.
  for (std::int32_t w : {0, 1, 2}) ASSERT_TRUE(office.ask(w, 1, 2).ok());
  EXPECT_EQ(office.granted(0), 0);
  EXPECT_EQ(office.granted(1), 4);
  EXPECT_FALSE(office.told(2));
}

TEST(Loops, RepeatsGetTheSameAnswer) {
  Office office(Kinds::async);
  ASSERT_TRUE(office.ask(0, 0, 5).ok());
  EXPECT_EQ(office.granted(0), 0);
  ASSERT_TRUE(office.ask(0, 0, 5).ok());
  EXPECT_EQ(office.granted(0), 0);
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(office.leave(0, 0, false).ok());
    EXPECT_EQ(office.told(0)->kind, Kind::left);
  }
  ASSERT_TRUE(office.ask(0, 0, 5).ok());
  EXPECT_EQ(office.told(0)->kind, Kind::finished) << "it has left";
  ASSERT_TRUE(office.ask(1, 0, 5).ok());
  EXPECT_EQ(office.granted(1), 0);
}

TEST(Loops, OneThatNobodyBeganCanBeStopped) {
  Office office(Kinds::async);
  ASSERT_TRUE(office.leave(0, 0, true).ok());
  EXPECT_EQ(office.told(0)->loop, (LoopState{0, 0, 0, 0}));
  ASSERT_TRUE(office.ask(1, 0, 5).ok());
  EXPECT_EQ(office.told(1)->kind, Kind::finished);
}

TEST(Loops, TheLossOfAWorkerLetsTheOthersGoOn) {
  Office office(Kinds::async);
  ASSERT_TRUE(office.ask(0, 0, 2).ok());
  ASSERT_TRUE(office.done(0, 0).ok());
  ASSERT_TRUE(office.ask(0, 0, 2).ok());
  ASSERT_TRUE(office.done(0, 1).ok());
  ASSERT_TRUE(office.ask(0, 1, 2).ok());
  (void)office.told(0);
  office.coordinator().gone(WorkerRank(1));
  ASSERT_TRUE(office.ask(0, 1, 2).ok());
  EXPECT_EQ(office.granted(0), 2);
}

/// Both workers get the same error, and no step is granted any more.
void expect_refused(Office& office, const Status& status, const std::string& why) {
  EXPECT_EQ(status.code(), Code::invalid) << status.message();
  for (std::int32_t w : {0, 1}) {
    auto told = office.told(w);
    ASSERT_TRUE(told && told->kind == Kind::refused) << "worker " << w;
    EXPECT_EQ(told->refusal, why);
  }
  EXPECT_EQ(office.ask(0, 0, 5).code(), Code::invalid);
}

TEST(Loops, ADifferenceIsToldToAllByName) {
  Office facts(Kinds::async);
  ASSERT_TRUE(facts.ask(1, 0, 5, "train.batch=64\ntrain.seed=1\n").ok());
  expect_refused(facts, facts.ask(0, 0, 5, "train.batch=64\ntrain.seed=2\n"),
                 "train.seed is 1 at worker 1 and 2 at worker 0: it must be the same at all workers");
  Office steps(Kinds::bounded);
  ASSERT_TRUE(steps.ask(0, 0, 5).ok());
  expect_refused(steps, steps.ask(1, 0, 6),
                 "a loop is of 5 steps at worker 0 and of 6 at worker 1: it must be the same at all workers");
}

TEST(Loops, ALateWorkersFactsAreComparedWhenTheLoopOpens) {
  Office office(Kinds::async);
  ASSERT_TRUE(office.ask(0, 0, 0, "a=1\n").ok());
  EXPECT_EQ(office.told(0)->kind, Kind::finished);
  ASSERT_TRUE(office.ask(0, 1, 5, "a=2\n").ok());
  ASSERT_TRUE(office.ask(1, 0, 0, "a=1\n").ok()) << "it is compared with what worker 0 said of loop 0";
  EXPECT_EQ(office.told(1)->kind, Kind::finished);
  expect_refused(office, office.ask(1, 1, 5, "a=3\n"),
                 "a is 2 at worker 0 and 3 at worker 1: it must be the same at all workers");
}

TEST(SynchronousSteps, LossesAreAveragedOverSamples) {
  Office office(Kinds::sync, 2, 2);
  ASSERT_TRUE(office.end(1, 0, "a=1\n", 30, 10).ok());
  ASSERT_TRUE(office.end(0, 0, "a=1\n", 50, 30).ok());
  EXPECT_EQ(office.told(0)->loss, 2.0);
  EXPECT_EQ(office.told(1)->loss, 2.0);
}

TEST(SynchronousSteps, WorkersOfDifferentLoopsAreRefused) {
  Office facts(Kinds::sync, 2, 2);
  ASSERT_TRUE(facts.end(0, 0, "loop=0\na=1\n", 1, 0).ok());
  expect_refused(facts, facts.end(1, 0, "loop=0\na=2\n", 1, 0),
                 "a is 1 at worker 0 and 2 at worker 1: it must be the same at all workers");
  Office lonely(Kinds::sync, 2, 2);
  ASSERT_TRUE(lonely.end(0, 0, "", 1, 0).ok());
  expect_refused(lonely, lonely.end(1, 0, "loop=0\na=2\n", 1, 0),
                 "step 0 is the first of a loop at worker 1 and not at worker 0: all workers must train in the same "
                 "loops");
  Office weights(Kinds::sync, 2, 2);
  ASSERT_TRUE(weights.end(0, 0, "", 1, 0).ok());
  expect_refused(weights, weights.end(1, 0, "", 1, 12),
                 "step 0: a loss is averaged over the batch at one worker and not at another");
}

}  // namespace
}  // namespace cohaul::ps
