// Workers and servers as threads over real channels: what the simulator can't see.

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <ostream>
#include <thread>

#include "cohaul/base/random.h"
#include "cohaul/ps/client.h"
#include "cohaul/ps/service.h"
#include "cohaul/ps/test_job.h"
#include "cohaul/update/local_exchange.h"
#include "cohaul/update/sum.h"

namespace cohaul::transport {
void PrintTo(Form form, std::ostream* out) { *out << (form == Form::tcp ? "tcp" : "arena"); }
}  // namespace cohaul::transport

namespace cohaul::ps {

namespace {

using Kinds = Consistency::Kind;

update::Layout test_layout() {
  std::vector<update::ParameterSpec> specs{{"weight", {300, 111}, DType::float32, true},
                                           {"bias", {300}, DType::float32, true},
                                           {"fixed", {5}, DType::float32, false},
                                           {"unused", {9}, DType::float32, true},
                                           {"scale", {17}, DType::float64, true}};
  return std::move(*update::Layout::of(std::move(specs)));
}

update::RuleSettings momentum() {
  update::RuleSettings rule;
  rule.momentum = 0.9;
  rule.weight_decay = 1e-3;
  return rule;
}

constexpr std::int32_t kUnused = 3;

template <class T>
void fill(T* out, std::size_t n, std::uint64_t seed) {
  Random random(seed);
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<T>(random.uniform() - 0.5);
}

/// The tree sum over slices [first, last) of random gradients of one run; parameter kUnused has none.
void fill_run(const update::Layout& layout, std::int32_t r, Step step, update::SliceRange slices, Bytes out) {
  const update::Run& run = layout.runs()[r];
  auto sum = [&]<class T>(T*) {
    std::size_t n = run.bytes / sizeof(T);
    std::vector<std::vector<T>> terms;
    std::vector<const T*> addresses;
    for (std::int32_t v = slices.first; v < slices.last; ++v) {
      fill(terms.emplace_back(n).data(), n, mix_seed(step.value, v, r));
    }
    for (auto& t : terms) addresses.push_back(t.data());
    update::tree_sum(std::span<const T* const>(addresses), reinterpret_cast<T*>(out.data()), n);
  };
  run.dtype == DType::float32 ? sum(static_cast<float*>(nullptr)) : sum(static_cast<double*>(nullptr));
  if (run.parameter_first <= kUnused && kUnused < run.parameter_last) {
    std::memset(out.data() + layout.offset(kUnused) - run.offset, 0, layout.bytes(kUnused));
  }
}

Status one_step(update::Exchange& exchange, const update::Layout& layout, const update::Work& work, Bytes gradients) {
  COHAUL_TRY(exchange.begin(work, {0.1}));
  for (std::int32_t r = static_cast<std::int32_t>(layout.runs().size()) - 1; r >= 0; --r) {
    const update::Run& run = layout.runs()[r];
    Bytes gradient = gradients.subspan(run.offset, run.bytes);
    fill_run(layout, r, work.step, work.slices, gradient);
    std::int32_t unused[] = {kUnused};
    bool has_it = run.parameter_first <= kUnused && kUnused < run.parameter_last;
    COHAUL_TRY(
        exchange.push(r, gradient, has_it ? std::span<const std::int32_t>(unused) : std::span<const std::int32_t>()));
  }
  Result<update::StepOutcome> outcome =
      exchange.finish(1.0 / work.slices.count * (work.slices.last - work.slices.first));
  std::memset(gradients.data(), 0xff, gradients.size());
  if (outcome.ok() && outcome->loss != 1.0) return corrupt("the loss is not the sum of all shares");
  return outcome.status();
}

struct Memory {
  transport::Arena arena;
  Bytes parameters, gradients;
  explicit Memory(const update::Layout& layout) : arena(*transport::Arena::create("test", 2 * layout.bytes() + 64)) {
    parameters = arena.bytes().first(layout.bytes());
    gradients = arena.bytes().subspan(layout.bytes(), layout.bytes());
  }
};

void set_initial(const update::Layout& layout, Bytes parameters) {
  fill(reinterpret_cast<float*>(parameters.data()), layout.bytes(3) / 4, 1);
  for (std::size_t p = 0; p < layout.parameters().size(); ++p) {
    auto i = static_cast<std::int32_t>(p);
    std::byte* at = parameters.data() + layout.offset(i);
    if (layout.parameters()[p].dtype == DType::float32) fill(reinterpret_cast<float*>(at), layout.elements(i), 10 + p);
    else fill(reinterpret_cast<double*>(at), layout.elements(i), 10 + p);
  }
}

std::vector<std::byte> trainable_values(const update::Layout& layout, ConstBytes parameters) {
  std::vector<std::byte> out;
  for (std::size_t p = 0; p < layout.parameters().size(); ++p) {
    auto i = static_cast<std::int32_t>(p);
    ConstBytes values = parameters.subspan(layout.offset(i), layout.bytes(i));
    out.insert(out.end(), values.begin(), values.end());
  }
  return out;
}

std::vector<std::byte> local_reference(const update::Layout& layout, std::int32_t slices, std::int64_t steps) {
  Memory memory(layout);
  set_initial(layout, memory.parameters);
  auto local = update::make_local_exchange(layout, momentum(), memory.parameters);
  for (std::int64_t s = 0; s < steps; ++s) {
    EXPECT_TRUE(one_step(*local, layout, {Step(s), {0, slices, slices}}, memory.gradients).ok());
  }
  return trainable_values(layout, memory.parameters);
}

struct Case {
  Consistency consistency{};
  int workers = 1, servers = 1, slices = 1;
  bool server_processes = false;  // servers apart from the workers (here: threads that no worker starts)
  transport::Form form = transport::Form::auto_;
  std::int64_t steps = 12;
};

struct Outcome {
  Status status;
  std::vector<std::byte> values;
  Counts counts;
  std::vector<ToldUpdate> told;
  std::int64_t steps = 0;
};

void work(const Case& c, job::Job& job, const update::Layout& layout, Outcome& out) {
  Memory memory(layout);
  if (job.rank() == 0) set_initial(layout, memory.parameters);
  auto run = [&]() -> Status {
    Options options{.consistency = c.consistency, .servers = c.servers, .slices = c.slices, .lend = {&memory.arena}};
    COHAUL_ASSIGN(auto exchange, make_server_exchange(job, layout, momentum(), memory.parameters, options));
    COHAUL_TRY(exchange->start(steady_clock().now() + 20 * kSecond));
    for (;;) {
      COHAUL_ASSIGN(std::optional<update::Work> next, exchange->next({.end = c.steps, .report_every = 25}));
      for (ToldUpdate& u : exchange->take_updates()) out.told.push_back(u);
      if (!next) break;
      COHAUL_TRY(one_step(*exchange, layout, *next, memory.gradients));
      ++out.steps;
    }
    out.values = trainable_values(layout, memory.parameters);
    COHAUL_ASSIGN(out.counts, exchange->counts());
    return exchange->close();
  };
  out.status = run();
}

std::vector<Outcome> run_case(const Case& c) {
  update::Layout layout = test_layout();
  TestMeeting meeting;
  std::vector<Outcome> outcomes(c.workers);
  std::vector<std::thread> threads;
  std::vector<std::unique_ptr<TestJob>> jobs;
  for (int k = 0; c.server_processes && k < c.servers; ++k) {
    jobs.push_back(std::make_unique<TestJob>(meeting, test_options(transport::Role::server, k, c.workers, c.servers)));
    threads.emplace_back([job = jobs.back().get(), k] {
      auto service = Service::listen(*job, ServerRank(k));
      ASSERT_TRUE(service.ok()) << service.status().message();
      Status served = (*service)->run();
      EXPECT_TRUE(served.ok()) << served.message();
    });
  }
  for (int w = 0; w < c.workers; ++w) {
    job::JoinOptions options = test_options(transport::Role::worker, w, c.workers, c.server_processes ? c.servers : 0);
    options.transport = c.form;
    jobs.push_back(std::make_unique<TestJob>(meeting, options));
    threads.emplace_back([&, w, job = jobs.back().get()] { work(c, *job, layout, outcomes[w]); });
  }
  for (auto& t : threads) t.join();
  return outcomes;
}

class Forms : public testing::TestWithParam<transport::Form> {};
INSTANTIATE_TEST_SUITE_P(ServerExchange, Forms, testing::Values(transport::Form::arena, transport::Form::tcp),
                         [](const auto& i) { return i.param == transport::Form::tcp ? "tcp" : "arena"; });

TEST_P(Forms, SynchronousEqualsOneProcessBitForBit) {
  auto expected = local_reference(test_layout(), 4, 12);
  for (int workers : {1, 2, 4}) {
    for (int servers : {1, 2, 3}) {
      Case c{.workers = workers, .servers = servers, .slices = 4, .server_processes = servers != 2, .form = GetParam()};
      for (const Outcome& o : run_case(c)) {
        ASSERT_TRUE(o.status.ok()) << o.status.message();
        EXPECT_EQ(o.steps, 12);
        EXPECT_EQ(o.values, expected) << workers << " workers, " << servers << " servers";
      }
    }
  }
}

TEST_P(Forms, AsynchronousWithOneWorkerEqualsOneProcess) {
  auto expected = local_reference(test_layout(), 1, 12);
  for (Consistency consistency : {Consistency{Kinds::async, 0}, Consistency{Kinds::bounded, 0}}) {
    auto outcomes = run_case({.consistency = consistency, .servers = 2, .form = GetParam()});
    ASSERT_TRUE(outcomes[0].status.ok()) << outcomes[0].status.message();
    EXPECT_EQ(outcomes[0].values, expected);
    EXPECT_EQ(outcomes[0].counts.coordinator.staleness_max, 0);
    EXPECT_EQ(outcomes[0].counts.coordinator.pushes, 12);
  }
}

TEST_P(Forms, AsynchronousWorkersShareTheStepsAndEndWithTheSameParameters) {
  for (Consistency consistency : {Consistency{Kinds::async, 0}, Consistency{Kinds::bounded, 1}}) {
    auto outcomes = run_case({.consistency = consistency, .workers = 3, .servers = 2, .form = GetParam(), .steps = 60});
    std::int64_t steps = 0;
    for (const Outcome& o : outcomes) {
      ASSERT_TRUE(o.status.ok()) << o.status.message();
      steps += o.steps;
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
    for (const ToldUpdate& u : told) {
      EXPECT_EQ(u.report.loss, 1.0);
      EXPECT_GT(u.report.elapsed, 0);
      sum.pushes += u.report.pushes;
      sum.staleness_sum += u.report.staleness_sum;
      sum.staleness_max = std::max(sum.staleness_max, u.report.staleness_max);
    }
    const Stats& counted = outcomes[0].counts.coordinator;
    EXPECT_EQ(sum.pushes, counted.pushes);
    EXPECT_EQ(sum.staleness_sum, counted.staleness_sum) << "reports share out the pushes";
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
      Memory memory(layout);
      update::RuleSettings rule;
      rule.momentum = 0.1 * w;
      auto exchange = make_server_exchange(*job, layout, rule, memory.parameters, {.slices = 2});
      ASSERT_TRUE(exchange.ok()) << exchange.status().message();
      ends[w] = (*exchange)->start(steady_clock().now() + 5 * kSecond);
      if (ends[w].ok()) ends[w] = (*exchange)->begin({Step(0), {w, w + 1, 2}}, {0.1});
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
  Memory memory(layout);
  auto exchange = make_server_exchange(job, layout, momentum(), memory.parameters, {.slices = 2});
  ASSERT_TRUE(exchange.ok()) << exchange.status().message();
  ASSERT_TRUE((*exchange)->start(steady_clock().now() + 5 * kSecond).ok());
  std::thread reaper([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    meeting.lose(peer_lost("worker 1 was killed"));
  });
  Time begin = steady_clock().now();
  Status end = one_step(**exchange, layout, {Step(0), {0, 1, 2}}, memory.gradients);
  reaper.join();
  EXPECT_EQ(end.code(), Code::peer_lost);
  EXPECT_NE(end.message().find("step 0: worker 1 was killed"), std::string::npos) << end.message();
  EXPECT_LT(steady_clock().now() - begin, 3 * kSecond);
  EXPECT_EQ((*exchange)->begin({Step(1), {0, 1, 2}}, {0.1}).message(), (*exchange)->close().message())
      << "errors are sticky";
}

TEST(ServerExchange, ADeadlineNamesWhatIsMissing) {
  update::Layout layout = test_layout();
  TestMeeting meeting;
  job::JoinOptions hasty = test_options(transport::Role::worker, 0, 2);
  hasty.step_timeout_s = 0.2;
  TestJob job(meeting, hasty);
  Memory memory(layout);
  auto exchange = make_server_exchange(job, layout, momentum(), memory.parameters, {.slices = 2});
  ASSERT_TRUE(exchange.ok());
  ASSERT_TRUE((*exchange)->start(steady_clock().now() + 5 * kSecond).ok());
  Status end = one_step(**exchange, layout, {Step(0), {0, 1, 2}}, memory.gradients);
  EXPECT_EQ(end.code(), Code::peer_lost);
  EXPECT_NE(end.message().find("server 0: the update of partition 0"), std::string::npos) << end.message();
}

}  // namespace
}  // namespace cohaul::ps
