// Tests what the trainer may rely on, for every strategy. Gradients are made up, so that the results depend on the engine alone.

#include "cohaul/strategy/engine.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "cohaul/base/random.h"
#include "cohaul/job/test_workers.h"
#include "cohaul/strategy/slices.h"
#include "cohaul/update/sum.h"

namespace cohaul::strategy {
namespace {

constexpr int kSteps = 12;
using job::with_workers;
constexpr Time kSoon = 20 * kSecond;

const update::Layout& layout() {
  static const update::Layout made = *update::Layout::of({{"weight", {70, 300}}, {"bias", {70}}, {"last", {5}}});
  return made;
}

/// Returns the gradient of one bucket, for one slice of a step.
std::vector<float> gradient(std::int64_t step, std::int32_t slice, std::size_t bucket) {
  std::vector<float> out(layout().buckets()[bucket].bytes / sizeof(float));
  Random random(static_cast<std::uint64_t>(1000 * step + slice), bucket);
  for (float& x : out) x = static_cast<float>(random.uniform() - 0.5);
  return out;
}

/// Returns its tree sum over one part of a worker's slices.
std::vector<float> gradient(Step step, const update::SliceRange& part, std::size_t bucket) {
  std::vector<std::vector<float>> slices;
  std::vector<const float*> terms;
  for (std::int32_t v = part.first; v < part.last; ++v) slices.push_back(gradient(step.value, v, bucket));
  for (auto& s : slices) terms.push_back(s.data());
  std::vector<float> out(slices.front().size());
  update::tree_sum(std::span<const float* const>(terms), out.data(), out.size());
  return out;
}

/// What one worker has seen of a training run.
struct Seen {
  std::vector<std::int64_t> steps;
  std::vector<double> losses;
  std::vector<std::byte> parameters;  // at the end
  std::optional<Asynchrony> asynchrony;
  std::vector<ReportedUpdate> reports;
};

/// Trains as the trainer does. Parameters start from 1, 2, 3, … at worker 0 alone.
Seen train(Engine& engine, int rank, int steps, std::int64_t loop_number = 0) {
  Seen seen;
  update::Exchange& exchange = engine.exchange();
  auto* p = reinterpret_cast<float*>(exchange.parameters().data());
  // If each worker computes the whole batch, the engine does not know which parameters are whole and which are parts.
  const bool sets = rank == 0 || engine.capabilities().data_parallel == 1;
  for (std::size_t i = 0; sets && i < layout().bytes() / sizeof(float); ++i) p[i] = static_cast<float>(i % 7);
  if (loop_number == 0) {
    EXPECT_TRUE(exchange.start(steady_clock().now() + kSoon).ok());
  }
  const update::Loop loop{0, steps, 5, loop_number};
  for (;;) {
    auto work = engine.next(loop);
    EXPECT_TRUE(work.ok()) << work.status().message();
    if (!work.ok() || !*work) break;
    EXPECT_TRUE(exchange.begin(**work, {}).ok());
    std::vector<std::vector<float>> gradients;  // must not change until finish() returns
    const std::vector<update::SliceRange> parts = update::subtrees_of((*work)->slices);
    for (std::size_t part = 0; part < parts.size(); ++part)
      for (std::size_t bucket = 0; bucket < layout().buckets().size(); ++bucket) {
        gradients.push_back(gradient((*work)->step, parts[part], bucket));
        EXPECT_TRUE(exchange
                        .push({static_cast<std::int32_t>(part), static_cast<std::int32_t>(bucket),
                               as_bytes(std::span(gradients.back()))})
                        .ok());
      }
    std::vector<update::PartEnd> ends;
    for (std::size_t part = 0; part < parts.size(); ++part) ends.push_back({part == 0 ? 1.0 : 0.0, 0});
    auto outcome = exchange.finish(ends);
    EXPECT_TRUE(outcome.ok()) << outcome.status().message();
    if (!outcome.ok()) break;
    seen.steps.push_back((*work)->step.value);
    seen.losses.push_back(outcome->loss);
    for (ReportedUpdate& r : engine.take_reports()) seen.reports.push_back(r);
  }
  for (ReportedUpdate& r : engine.take_reports()) seen.reports.push_back(r);
  auto asynchrony = engine.asynchrony();
  EXPECT_TRUE(asynchrony.ok());
  if (asynchrony.ok()) seen.asynchrony = *asynchrony;
  for (std::int32_t i = 0; i < 3; ++i) {  // without the gaps between them
    Bytes end = exchange.parameters().subspan(layout().offset(i), layout().bytes(i));
    seen.parameters.insert(seen.parameters.end(), end.begin(), end.end());
  }
  return seen;
}

std::vector<Seen> run(const Strategy& strategy, int world, EngineOptions options = {}) {
  options.layout = &layout();
  options.optimizer = update::RuleSettings{.lr = 0.1, .momentum = 0.9};
  std::vector<Seen> seen(static_cast<std::size_t>(world));
  with_workers(world, [&](job::Job& job) {
    auto engine = make_engine(strategy, job, options);
    ASSERT_TRUE(engine.ok()) << engine.status().message();
    seen[static_cast<std::size_t>(job.rank())] = train(**engine, job.rank(), kSteps);
    EXPECT_TRUE(job.barrier("trained", world, steady_clock().now() + kSoon).ok());
    EXPECT_TRUE((*engine)->close().ok());
    EXPECT_TRUE(job.close().ok());
  });
  return seen;
}

struct Chosen {
  const char* name;
  Strategy strategy;
  Capabilities of_three;  // of the engine in a job of three workers
};
void PrintTo(const Chosen& c, std::ostream* out) { *out << c.name; }

class EngineOf : public testing::TestWithParam<Chosen> {
 protected:
  static bool is_single() { return std::holds_alternative<Single>(GetParam().strategy); }
  static bool is_tensor() { return std::holds_alternative<Tensor>(GetParam().strategy); }
  static bool is_asynchronous() { return GetParam().of_three.asynchronous; }
};
INSTANTIATE_TEST_SUITE_P(
    Strategies, EngineOf,
    testing::Values(Chosen{"single", Single{}, {false, true, 1}}, Chosen{"all_reduce", AllReduce{}, {false, true, 3}},
                    Chosen{"sync", ParameterServer{.servers = 2}, {false, false, 3}},
                    Chosen{"async", ParameterServer{.servers = 2, .consistency = Asynchronous{}}, {true, false, 3}},
                    Chosen{"bounded", ParameterServer{.servers = 2, .consistency = Bounded{1}}, {true, false, 3}},
                    Chosen{"tensor", Tensor{}, {false, false, 1}}),
    [](const auto& info) { return info.param.name; });

TEST_P(EngineOf, AloneHasTheBitsOfOneProcess) {
  const std::vector<std::byte> expected = run(Single{}, 1, {.slices = 4}).front().parameters;
  const Seen seen = run(GetParam().strategy, 1, {.slices = 4}).front();
  EXPECT_TRUE(seen.parameters == expected);
  EXPECT_EQ(seen.steps, (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
}

TEST_P(EngineOf, EveryStepIsDoneOnceAndAllEndAlike) {
  if (is_single())
    return with_workers(3, [](job::Job& job) {  // this worker is refused
      auto engine = make_engine(Single{}, job, {.layout = &layout()});
      EXPECT_EQ(engine.status().code(), Code::invalid);
      EXPECT_NE(engine.status().message().find("choose all_reduce or parameter_server"), std::string::npos);
      EXPECT_TRUE(job.close().ok());
    });
  const std::vector<Seen> seen = run(GetParam().strategy, 3, {.slices = 3});
  std::multiset<std::int64_t> steps;
  for (const Seen& s : seen) {
    steps.insert(s.steps.begin(), s.steps.end());
    EXPECT_TRUE(s.parameters == seen.front().parameters);
  }
  const std::size_t times = is_asynchronous() ? 1 : 3;
  EXPECT_EQ(steps.size(), times * kSteps);
  for (std::int64_t i = 0; i < kSteps; ++i) EXPECT_EQ(steps.count(i), times) << "step " << i;
  if (is_asynchronous()) return;
  // Three slices: one a worker, or all three at each worker under tensor, where no layer is split here.
  EXPECT_TRUE(seen.front().parameters == run(Single{}, 1, {.slices = 3}).front().parameters);
  for (double loss : seen[1].losses) EXPECT_EQ(loss, is_tensor() ? 1 : 3) << "the sum of all workers' parts";
}

TEST_P(EngineOf, TellsWhatServersCountedOrNothing) {
  const std::vector<Seen> seen = run(GetParam().strategy, is_single() ? 1 : 3);
  const Seen& told = seen.front();
  if (!is_asynchronous()) {
    EXPECT_FALSE(told.asynchrony.has_value());
    EXPECT_TRUE(told.reports.empty());
    return;
  }
  ASSERT_TRUE(told.asynchrony.has_value());
  EXPECT_EQ(told.asynchrony->pushes, kSteps);
  ASSERT_EQ(told.reports.size(), 3u) << "every fifth update, and the last";
  std::int64_t pushes = 0, staleness_max = 0;
  for (std::size_t i = 0; i < told.reports.size(); ++i) {
    EXPECT_EQ(told.reports[i].number, (std::vector<std::int64_t>{5, 10, 12})[i]);
    pushes += told.reports[i].asynchrony.pushes;
    staleness_max = std::max(staleness_max, told.reports[i].asynchrony.staleness_max);
  }
  EXPECT_EQ(pushes, kSteps);
  EXPECT_EQ(staleness_max, told.asynchrony->staleness_max);
  EXPECT_TRUE(seen[1].reports.empty()) << "worker 0 is told";
}

TEST_P(EngineOf, SaysWhatItCanDo) {
  with_workers(is_single() ? 1 : 3, [](job::Job& job) {
    auto engine = *make_engine(GetParam().strategy, job, {.layout = &layout()});
    const Capabilities can = engine->capabilities();
    EXPECT_EQ(can.asynchronous, GetParam().of_three.asynchronous);
    EXPECT_EQ(can.average, GetParam().of_three.average);
    EXPECT_EQ(can.data_parallel, GetParam().of_three.data_parallel);
    EXPECT_EQ(engine->slices(), is_asynchronous() ? 1 : can.data_parallel) << "one a worker, or one";
    // Servers run until they have had their settings and all workers have said goodbye.
    EXPECT_TRUE(engine->exchange().start(steady_clock().now() + kSoon).ok());
    EXPECT_TRUE(job.barrier("seen", job.world(), steady_clock().now() + kSoon).ok());
    EXPECT_TRUE(engine->close().ok());
    EXPECT_TRUE(job.close().ok());
  });
}

TEST_P(EngineOf, TakesAnyNumberOfSlicesWithTheBitsOfOneProcess) {
  // A step's slices are all at one worker, or all at each.
  if (is_single() || is_tensor() || is_asynchronous()) return;
  for (int slices : {3, 4, 7})
    EXPECT_TRUE(run(GetParam().strategy, 3, {.slices = slices}).front().parameters ==
                run(Single{}, 1, {.slices = slices}).front().parameters)
        << slices;
}

TEST_P(EngineOf, RefusesFewerSlicesThanWorkers) {
  if (is_single() || is_tensor() || is_asynchronous()) return;
  with_workers(3, [](job::Job& job) {
    auto engine = make_engine(GetParam().strategy, job, {.layout = &layout(), .slices = 2});
    EXPECT_EQ(engine.status().code(), Code::invalid);
    EXPECT_EQ(engine.status().message(),
              "2 slices cannot be shared by 3 workers: give at least as many slices as workers, and at most 1048576");
    EXPECT_TRUE(job.close().ok());
  });
}

TEST_P(EngineOf, ALoopThatIsLeftGoesOnAfterItsLastUpdate) {
  if (is_single() || is_tensor()) return;
  with_workers(2, [](job::Job& job) {
    auto engine = *make_engine(GetParam().strategy, job, {.layout = &layout()});
    EXPECT_TRUE(engine->exchange().start(steady_clock().now() + kSoon).ok());
    auto given = engine->next({0, 10, 0, 0, "loop=0\n"});
    ASSERT_TRUE(given.ok() && given->has_value()) << given.status().message();
    EXPECT_TRUE(engine->leave_loop(false, true).ok());
    EXPECT_EQ(engine->loop().done, 0) << "what was given and not done goes back";
    Seen seen = train(*engine, job.rank(), 4, 1);
    EXPECT_EQ(engine->loop().done, 4);
    EXPECT_TRUE(job.barrier("trained", 2, steady_clock().now() + kSoon).ok());
    EXPECT_TRUE(engine->close().ok());
    EXPECT_TRUE(job.close().ok());
  });
}

TEST(SlicesFor, AreOneAWorkerOrWhatIsAsked) {
  EXPECT_EQ(*slices_for(0, 3), 3);
  EXPECT_EQ(*slices_for(7, 3), 7);
  EXPECT_FALSE(slices_for(2, 3).ok());
  EXPECT_FALSE(slices_for(-1, 1).ok());
  EXPECT_FALSE(slices_for((1 << 20) + 1, 1).ok());
}

TEST(Strategy, IsNamedAsInJobFiles) {
  EXPECT_EQ(name(Single{}), "single");
  EXPECT_EQ(name(AllReduce{}), "all_reduce");
  EXPECT_EQ(name(ParameterServer{}), "parameter_server");
  EXPECT_EQ(name(Tensor{}), "tensor");
}

TEST(ParameterServerEngine, NeedsAServer) {
  with_workers(1, [](job::Job& job) {
    auto engine = make_engine(ParameterServer{.servers = 0}, job, {.layout = &layout()});
    EXPECT_EQ(engine.status().code(), Code::invalid);
  });
}

}  // namespace
}  // namespace cohaul::strategy
