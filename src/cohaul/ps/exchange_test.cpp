// Tests of workers and servers as threads with real channels, for what the simulator does not cover.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <ostream>
#include <thread>

#include "cohaul/ps/client.h"
#include "cohaul/ps/service.h"
#include "cohaul/ps/test_job.h"
#include "cohaul/ps/test_training.h"

namespace cohaul::transport {
void PrintTo(Form form, std::ostream* out) { *out << (form == Form::tcp ? "tcp" : "arena"); }
}  // namespace cohaul::transport

namespace cohaul::ps {

namespace {

using Kinds = Consistency::Kind;

struct Case {
  Consistency consistency{};
  update::GradientPolicy policy{};
  Problem problem{};
  int workers = 1, servers = 1, slices = 1;
  bool server_processes = false;  // servers are separate from the workers (here: threads that no worker starts)
  transport::Form form = transport::Form::auto_;
  std::int64_t steps = 12;
  std::vector<int> hosts{};  // by worker: its host as the exchange is told; in fact all share memory
};

struct Outcome : Trained {
  Counts counts;
  std::vector<ToldUpdate> told;
};

Status train(const Case& c, job::Job& job, const update::Layout& layout, const TestMemory& memory, Outcome& out) {
  Options options{.consistency = c.consistency,
                  .policy = c.policy,
                  .servers = c.servers,
                  .slices = c.slices,
                  .hosts = c.hosts,
                  .lend = {&memory.arena}};
  COHAUL_ASSIGN(auto exchange, make_server_exchange(job, layout, momentum(), memory.parameters, options));
  COHAUL_TRY(exchange->start(steady_clock().now() + 20 * kSecond));
  for (;;) {
    COHAUL_ASSIGN(std::optional<update::Work> next, exchange->next({.end = c.steps, .report_every = 25}));
    for (ToldUpdate& u : exchange->take_updates()) out.told.push_back(u);
    if (!next) break;
    COHAUL_ASSIGN(auto outcome, one_step(*exchange, layout, *next, memory, c.problem));
    out.outcomes.push_back(outcome);
  }
  COHAUL_ASSIGN(out.counts, exchange->counts());
  return exchange->close();
}

void work(const Case& c, job::Job& job, const update::Layout& layout, Outcome& out) {
  TestMemory memory(layout);
  if (job.rank() == 0) set_initial(layout, memory.parameters);
  out.status = train(c, job, layout, memory, out);
  out.values = values_of(layout, memory.parameters);
  if (out.status.ok()) out.status = job.close();
}

/// Runs a server until it is told that all workers have finished.
void serve(TestJob& job, int rank, TestMeeting& meeting) {
  auto service = Service::listen(job, ServerRank(rank));
  ASSERT_TRUE(service.ok()) << service.status().message();
  std::thread farewell([&] {
    (void)job.get(job::kWorkersLeftKey, steady_clock().now() + 60 * kSecond).ok();
    (*service)->stop();
  });
  Status served = (*service)->run();
  EXPECT_TRUE(served.ok() || !meeting.health().ok()) << served.message();
  farewell.join();
}

std::vector<Outcome> run_case(const Case& c) {
  update::Layout layout = test_layout();
  TestMeeting meeting;
  std::vector<Outcome> outcomes(c.workers);
  std::vector<std::thread> servers, workers;
  std::vector<std::unique_ptr<TestJob>> jobs;
  for (int k = 0; c.server_processes && k < c.servers; ++k) {
    jobs.push_back(std::make_unique<TestJob>(meeting, test_options(transport::Role::server, k, c.workers, c.servers)));
    servers.emplace_back([&, k, job = jobs.back().get()] { serve(*job, k, meeting); });
  }
  for (int w = 0; w < c.workers; ++w) {
    job::JoinOptions options = test_options(transport::Role::worker, w, c.workers, c.server_processes ? c.servers : 0);
    options.transport = c.form;
    jobs.push_back(std::make_unique<TestJob>(meeting, options));
    workers.emplace_back([&, w, job = jobs.back().get()] { work(c, *job, layout, outcomes[w]); });
  }
  for (auto& t : workers) t.join();
  (void)jobs[0]->set(job::kWorkersLeftKey, "yes").ok();
  for (auto& t : servers) t.join();
  return outcomes;
}

void expect_equal(const Outcome& got, const Trained& expected, const std::string& what) {
  ASSERT_TRUE(got.status.ok()) << what << ": " << got.status.message();
  EXPECT_EQ(got.values, expected.values) << what;
  ASSERT_EQ(got.outcomes.size(), expected.outcomes.size()) << what;
  for (std::size_t s = 0; s < got.outcomes.size(); ++s) {
    EXPECT_EQ(got.outcomes[s].loss, expected.outcomes[s].loss) << what << ", step " << s;
    EXPECT_EQ(got.outcomes[s].gradient_norm, expected.outcomes[s].gradient_norm) << what << ", step " << s;
    EXPECT_EQ(got.outcomes[s].skipped, expected.outcomes[s].skipped) << what << ", step " << s;
  }
}

/// Compares the results for several numbers of workers, slices and servers with those of one process.
void expect_bits_of_one_process(Case base) {
  const update::Layout layout = test_layout();
  for (int workers : {1, 2, 3, 5}) {
    for (int slices : {workers, workers + 1, 7}) {
      const Trained alone = train_alone(layout, base.policy, base.problem, slices, base.steps);
      for (int servers : {1, 3}) {
        Case c = base;
        c.workers = workers, c.slices = slices, c.servers = servers, c.server_processes = servers == 3;
        const std::string what = std::to_string(workers) + " workers, " + std::to_string(slices) + " slices, " +
                                 std::to_string(servers) + " servers";
        for (const Outcome& o : run_case(c)) expect_equal(o, alone, what);
      }
    }
  }
}

/// Returns cases with several workers on a host and servers on other hosts.
std::vector<Case> several_hosts() {
  std::vector<Case> out;
  for (const auto& [hosts, slices] : std::vector<std::pair<std::vector<int>, std::vector<int>>>{
           {{0, 0, 1, 1}, {4, 5, 11}}, {{0, 1, 0, 1}, {4, 6}}, {{0, 1, 1, 2, 2, 2}, {6, 13}}, {{3, 3, 3}, {3, 4, 8}}}) {
    for (const int n : slices) {
      for (const int servers : {1, 3}) {
        for (const bool processes : {false, true}) {
          if (servers == 1 && !processes && n > 4) continue;
          Case c;
          c.hosts = hosts, c.slices = n, c.servers = servers, c.server_processes = processes;
          c.workers = static_cast<int>(hosts.size());
          out.push_back(c);
        }
      }
    }
  }
  return out;
}

class SeveralHosts : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Of, SeveralHosts, testing::ValuesIn(several_hosts()), [](const auto& i) {
  std::string name;
  for (const int host : i.param.hosts) name += std::to_string(host);
  return name + "_" + std::to_string(i.param.slices) + "_slices_" + std::to_string(i.param.servers) +
         (i.param.server_processes ? "_server_processes" : "_servers");
});

TEST_P(SeveralHosts, EqualOneProcessBitForBit) {
  for (const bool is_weighted : {false, true}) {
    for (const update::GradientPolicy& policy :
         {update::GradientPolicy{}, {.clip_norm = 1e-6, .watch_every = 2}, {.non_finite = update::NonFinite::skip}}) {
      Case c = GetParam();
      c.steps = 5, c.policy = policy;
      c.problem = {.poisoned_step = policy.non_finite == update::NonFinite::skip ? 2 : -1,
                   .is_weighted = is_weighted,
                   .all_absent_step = 3};
      const Trained alone = train_alone(test_layout(), c.policy, c.problem, c.slices, c.steps);
      for (const Outcome& o : run_case(c)) expect_equal(o, alone, name(policy.non_finite).data());
    }
  }
}

/// A host without a server sends one gradient for each complete subtree of its slices.
TEST_P(SeveralHosts, SendWhatCrossesOnce) {
  const Case& c = GetParam();
  const update::Layout layout = test_layout();
  const auto dealt = update::deal_slices(c.slices, c.hosts);
  std::int64_t expected = 0;
  for (std::size_t p = 0; p < layout.partitions().size(); ++p) {
    const int server = server_of(PartitionId(static_cast<std::int32_t>(p)), c.servers).value;
    const int at = c.server_processes ? -1 : c.hosts[static_cast<std::size_t>(server % c.workers)];
    for (std::size_t w = 0; w < c.hosts.size(); ++w) {
      if (c.hosts[w] == at) {
        expected += static_cast<std::int64_t>(update::subtrees_of(dealt[w]).size());
      } else if (std::ranges::find(c.hosts, c.hosts[w]) - c.hosts.begin() == static_cast<std::ptrdiff_t>(w)) {
        update::SliceRange host = dealt[w];
        for (std::size_t v = w; v < c.hosts.size(); ++v)
          if (c.hosts[v] == c.hosts[w]) host.last = dealt[v].last;
        expected += static_cast<std::int64_t>(update::subtrees_of(host).size());
      }
    }
  }
  Case counted = c;
  counted.steps = 4;
  for (const Outcome& o : run_case(counted)) EXPECT_EQ(o.counts.tables.pushes, 4 * expected);
}

TEST_P(SeveralHosts, NameWhoseGradientIsNotFinite) {
  Case c = GetParam();
  c.policy.non_finite = update::NonFinite::stop;
  c.problem.poisoned_step = 2;  // in its last slice
  const auto dealt = update::deal_slices(c.slices, c.hosts);
  const auto whose = std::ranges::find(dealt, c.slices, &update::SliceRange::last) - dealt.begin();
  for (const Outcome& o : run_case(c)) {
    EXPECT_EQ(o.status.code(), Code::invalid);
    EXPECT_NE(o.status.message().find("is not finite at worker " + std::to_string(whose) + ";"), std::string::npos)
        << o.status.message();
  }
}

class Forms : public testing::TestWithParam<transport::Form> {};
INSTANTIATE_TEST_SUITE_P(ServerExchange, Forms, testing::Values(transport::Form::arena, transport::Form::tcp),
                         [](const auto& i) { return i.param == transport::Form::tcp ? "tcp" : "arena"; });

TEST_P(Forms, SynchronousEqualsOneProcessBitForBit) { expect_bits_of_one_process({.form = GetParam(), .steps = 5}); }

TEST(ServerExchange, SumsOfSamplesAreAveragedAsInOneProcess) {
  expect_bits_of_one_process({.problem = {.is_weighted = true}, .steps = 3});
}

TEST(ServerExchange, ClippedStepsEqualOneProcessBitForBit) {
  expect_bits_of_one_process({.policy = {.clip_norm = 0.5}, .problem = {.is_weighted = true}, .steps = 3});
  expect_bits_of_one_process({.policy = {.clip_value = 0.05}, .steps = 2});
}

TEST(ServerExchange, AStepThatIsNotFiniteIsSkippedByAll) {
  expect_bits_of_one_process(
      {.policy = {.non_finite = update::NonFinite::skip}, .problem = {.poisoned_step = 1}, .steps = 3});
}

TEST(ServerExchange, AStepWithoutAnyGradientChangesNothing) {
  expect_bits_of_one_process({.problem = {.all_absent_step = 1}, .steps = 3});
}

TEST(ServerExchange, AStepThatIsNotFiniteStopsAllNamingParameterAndWorker) {
  Case c{
      .policy = {.non_finite = update::NonFinite::stop}, .problem = {.poisoned_step = 2}, .workers = 3, .servers = 2};
  c.slices = 5;
  for (bool processes : {false, true}) {
    c.server_processes = processes;
    for (const Outcome& o : run_case(c)) {
      EXPECT_EQ(o.status.code(), Code::invalid);
      EXPECT_EQ(o.status.message().find("step 3: the gradient of weight is not finite at worker 2"), 0u)
          << o.status.message();
      EXPECT_EQ(o.outcomes.size(), 2u);
    }
  }
}

TEST_P(Forms, AsynchronousWithOneWorkerEqualsOneProcess) {
  const update::Layout layout = test_layout();
  const update::GradientPolicy policies[] = {
      {}, {.clip_norm = 0.5}, {.clip_value = 0.05}, {.non_finite = update::NonFinite::skip}};
  for (const update::GradientPolicy& policy : policies) {
    for (bool weighted : {false, true}) {
      Case c{.policy = policy, .problem = {.is_weighted = weighted, .all_absent_step = 3}, .servers = 2, .slices = 3};
      c.form = GetParam();
      if (policy.non_finite == update::NonFinite::skip) c.problem.poisoned_step = 5;
      const Trained alone = train_alone(layout, c.policy, c.problem, 3, 12);
      for (Consistency consistency : {Consistency{Kinds::async, 0}, Consistency{Kinds::bounded, 0}}) {
        c.consistency = consistency;
        auto outcomes = run_case(c);
        expect_equal(outcomes[0], alone, "clip_norm " + std::to_string(policy.clip_norm));
        EXPECT_EQ(outcomes[0].counts.coordinator.staleness_max, 0);
        EXPECT_EQ(outcomes[0].counts.coordinator.pushes, 12);
      }
    }
  }
}

TEST(ServerExchange, AnAsynchronousStepThatIsNotFiniteStopsItsWorker) {
  Case c{.consistency = {Kinds::async, 0}, .policy = {.non_finite = update::NonFinite::stop}};
  c.problem.poisoned_step = 4;
  auto outcomes = run_case(c);
  EXPECT_EQ(outcomes[0].status.code(), Code::invalid) << outcomes[0].status.message();
  EXPECT_NE(outcomes[0].status.message().find("step 5: the gradient of"), std::string::npos);
  EXPECT_EQ(outcomes[0].outcomes.size(), 4u);
}

TEST_P(Forms, AsynchronousWorkersShareTheStepsAndEndWithTheSameParameters) {
  for (Consistency consistency : {Consistency{Kinds::async, 0}, Consistency{Kinds::bounded, 1}}) {
    auto outcomes = run_case({.consistency = consistency, .workers = 3, .servers = 2, .form = GetParam(), .steps = 60});
    std::int64_t steps = 0;
    for (const Outcome& o : outcomes) {
      ASSERT_TRUE(o.status.ok()) << o.status.message();
      steps += static_cast<std::int64_t>(o.outcomes.size());
      EXPECT_EQ(o.values, outcomes[0].values);
      EXPECT_EQ(o.counts.coordinator.pushes, 60);
      EXPECT_EQ(o.counts.tables.pushes, 60 * static_cast<std::int64_t>(test_layout().partitions().size()));
      EXPECT_EQ(o.counts.coordinator.staleness_max, o.counts.tables.staleness_max);
      if (consistency.kind == Kinds::bounded) {
        EXPECT_LE(o.counts.coordinator.gap_max, 1);
      }
    }
    EXPECT_EQ(steps, 60);
    EXPECT_TRUE(outcomes[1].told.empty() && outcomes[2].told.empty());
    const std::vector<ToldUpdate>& told = outcomes[0].told;
    ASSERT_EQ(told.size(), 3u);
    EXPECT_EQ(told[0].number, 25);
    EXPECT_EQ(told[1].number, 50);
    EXPECT_EQ(told[2].number, 60);
    Stats sum;
    std::vector<double> losses;
    for (std::int64_t step = 0; step < 60; ++step) losses.push_back(part_end(Step(step), {0, 1, 1}, {}).loss);
    for (const ToldUpdate& u : told) {
      EXPECT_TRUE(std::ranges::count(losses, u.report.loss) == 1) << "the loss of one of the steps";
      EXPECT_GT(u.report.elapsed, 0);
      sum.pushes += u.report.pushes;
      sum.staleness_sum += u.report.staleness_sum;
      sum.staleness_max = std::max(sum.staleness_max, u.report.staleness_max);
    }
    const Stats& counted = outcomes[0].counts.coordinator;
    EXPECT_EQ(sum.pushes, counted.pushes);
    EXPECT_EQ(sum.staleness_sum, counted.staleness_sum) << "reports divide the pushes among them";
    EXPECT_EQ(sum.staleness_max, counted.staleness_max);
    EXPECT_EQ(told[2].report.gap_max, counted.gap_max);
  }
}

TEST(ServerExchange, AWorkerWithOtherSettingsIsRefusedWithTheReason) {
  update::Layout layout = test_layout();
  TestMeeting meeting;
  std::vector<Status> ends(2);
  std::vector<std::unique_ptr<TestJob>> jobs;
  std::vector<std::thread> threads;
  for (int w = 0; w < 2; ++w) {
    jobs.push_back(std::make_unique<TestJob>(meeting, test_options(transport::Role::worker, w, 2)));
    threads.emplace_back([&, w, job = jobs.back().get()] {
      TestMemory memory(layout);
      update::RuleSettings rule;
      rule.momentum = 0.1 * w;
      auto exchange = make_server_exchange(*job, layout, rule, memory.parameters, {.slices = 2});
      ASSERT_TRUE(exchange.ok()) << exchange.status().message();
      ends[w] = (*exchange)->start(steady_clock().now() + 5 * kSecond);
      if (ends[w].ok()) ends[w] = (*exchange)->begin({Step(0), {w, w + 1, 2}}, {});
      if (!ends[w].ok()) meeting.lose(peer_lost("worker " + std::to_string(w) + " has failed"));
      while (meeting.health().ok()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    });
  }
  for (auto& t : threads) t.join();
  int refused = 0;
  for (const Status& s : ends)
    refused += s.code() == Code::invalid && s.message().find("other settings") != std::string::npos;
  EXPECT_EQ(refused, 1) << ends[0].message() << " | " << ends[1].message();
}

TEST(ServerExchange, ALostPeerEndsTheWaitAndIsNamed) {
  update::Layout layout = test_layout();
  TestMeeting meeting;
  TestJob job(meeting, test_options(transport::Role::worker, 0, 2));
  TestMemory memory(layout);
  auto exchange = make_server_exchange(job, layout, momentum(), memory.parameters, {.slices = 2});
  ASSERT_TRUE(exchange.ok()) << exchange.status().message();
  ASSERT_TRUE((*exchange)->start(steady_clock().now() + 5 * kSecond).ok());
  std::thread reaper([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    meeting.lose(peer_lost("worker 1 was killed"));
  });
  Time begin = steady_clock().now();
  Status end = one_step(**exchange, layout, {Step(0), {0, 1, 2}}, memory, {}).status();
  reaper.join();
  EXPECT_EQ(end.code(), Code::peer_lost);
  EXPECT_NE(end.message().find("step 0: worker 1 was killed"), std::string::npos) << end.message();
  EXPECT_LT(steady_clock().now() - begin, 3 * kSecond);
  EXPECT_EQ((*exchange)->begin({Step(1), {0, 1, 2}}, {}).message(), (*exchange)->close().message())
      << "errors are sticky";
}

TEST(ServerExchange, ADeadlineNamesWhatIsMissing) {
  update::Layout layout = test_layout();
  TestMeeting meeting;
  job::JoinOptions hasty = test_options(transport::Role::worker, 0, 2);
  hasty.step_timeout_s = 0.2;
  TestJob job(meeting, hasty);
  TestMemory memory(layout);
  auto exchange = make_server_exchange(job, layout, momentum(), memory.parameters, {.slices = 2});
  ASSERT_TRUE(exchange.ok());
  ASSERT_TRUE((*exchange)->start(steady_clock().now() + 5 * kSecond).ok());
  Status end = one_step(**exchange, layout, {Step(0), {0, 1, 2}}, memory, {}).status();
  EXPECT_EQ(end.code(), Code::peer_lost);
  EXPECT_NE(end.message().find("server 0: the update of partition 0"), std::string::npos) << end.message();
}

}  // namespace
}  // namespace cohaul::ps
