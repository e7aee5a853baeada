// All-reduce fused with the update: the same bits as one process, over every kind of channel, shared parameters or not.

#include "cohaul/collective/all_reduce_exchange.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <span>

#include "cohaul/collective/test_ranks.h"
#include "cohaul/update/local_exchange.h"
#include "cohaul/update/sum.h"

namespace cohaul::collective {
namespace {

using transport::Arena;
using update::Layout;

enum class Memory { shared, lent, copied };  // one copy of the parameters; gradients by address; everything as bytes

struct Case {
  Memory memory;
  int ranks, slices;
  transport::Form form() const { return memory == Memory::copied ? transport::Form::tcp : transport::Form::arena; }
};
std::ostream& operator<<(std::ostream& out, const Case& c) {
  const char* names[] = {"arena_shared_", "arena_lent_", "tcp_"};
  return out << names[static_cast<int>(c.memory)] << c.ranks << "_ranks_" << c.slices << "_slices";
}
std::vector<Case> cases() {
  std::vector<Case> out;
  for (Memory m : {Memory::shared, Memory::lent, Memory::copied})
    for (auto [ranks, slices] : {std::pair{1, 4}, {2, 4}, {4, 4}, {3, 3}, {2, 8}}) out.push_back({m, ranks, slices});
  return out;
}

/// Large and small ones, both types, a frozen one: several runs, some with fewer partitions than ranks.
Layout model() {
  return *Layout::of({{"embedding", {300, 129}, DType::float32, true},
                      {"weight", {7, 5}, DType::float32, true},
                      {"bias", {7}, DType::float32, true},
                      {"frozen", {1000}, DType::float32, false},
                      {"scale", {3}, DType::float32, true},
                      {"deep", {20'000}, DType::float64, true},
                      {"last", {3000}, DType::float64, true}});
}

/// Which parameters get no gradient in a slice: some in one slice only, "weight" in most, "last" in all of every third step.
bool absent_in(std::int32_t parameter, std::int64_t step, int slice) {
  return (parameter == 1 && slice != 1) || (parameter == 0 && step == 2 && slice == 0) ||
         (parameter == 6 && step % 3 == 1);
}

/// A worker's gradients of its slices of a step, summed in tree order; what no slice gives is absent.
class Gradients {
 public:
  Gradients(const Layout& layout, Bytes place) : layout_(layout), place_(place) {}

  void compute(std::int64_t step, update::SliceRange slices) {
    std::memset(place_.data(), 0, place_.size());
    absent_.clear();
    for (std::int32_t p = 0; p < static_cast<std::int32_t>(layout_.parameters().size()); ++p) {
      if (layout_.parameters()[static_cast<std::size_t>(p)].dtype == DType::float32) compute_as<float>(p, step, slices);
      else compute_as<double>(p, step, slices);
    }
  }
  Status push(update::Exchange& exchange, std::int32_t run) const {
    const update::Run& r = layout_.runs()[static_cast<std::size_t>(run)];
    std::vector<std::int32_t> absent;
    for (std::int32_t p : absent_)
      if (p >= r.parameter_first && p < r.parameter_last) absent.push_back(p);
    return exchange.push(run, place_.subspan(r.offset, r.bytes), absent);
  }

 private:
  template <class T>
  void compute_as(std::int32_t p, std::int64_t step, update::SliceRange slices) {
    std::size_t n = layout_.elements(p);
    std::vector<std::vector<T>> terms;
    bool any = false;
    for (int v = slices.first; v < slices.last; ++v) {
      bool none = absent_in(p, step, v);
      any |= !none;
      terms.push_back(none ? std::vector<T>(n) : values_of<T>(p * 100 + v, n, static_cast<std::uint64_t>(step)));
    }
    if (!any) return absent_.push_back(p);
    std::vector<const T*> pointers;
    for (const auto& t : terms) pointers.push_back(t.data());
    update::tree_sum(std::span<const T* const>(pointers), reinterpret_cast<T*>(place_.data() + layout_.offset(p)), n);
  }

  const Layout& layout_;
  Bytes place_;
  std::vector<std::int32_t> absent_;
};

update::RuleSettings rule() { return {.momentum = 0.9, .weight_decay = 1e-4, .nesterov = true}; }
double lr(std::int64_t step) { return 0.1 / static_cast<double>(1 + step); }
double loss_of(std::int64_t step, int rank) { return 1.0 / static_cast<double>(3 + step + 5 * rank); }

void fill(Bytes parameters, int rank) {
  auto values = values_of<double>(rank, parameters.size() / sizeof(double), 99);
  for (double& x : values) x = 1 + std::abs(x);  // a number as floats too
  std::memcpy(parameters.data(), values.data(), parameters.size());
}

constexpr std::int64_t kSteps = 7;

/// The parameters after kSteps of one process that computes all slices.
std::vector<std::byte> one_process(const Layout& layout, int ranks, int slices, std::vector<double>& losses) {
  Arena memory = *Arena::create("one", 2 * layout.bytes());
  Bytes parameters = memory.bytes().first(layout.bytes());
  fill(parameters, 0);
  Gradients gradients(layout, memory.bytes().last(layout.bytes()));
  auto exchange = update::make_local_exchange(layout, rule(), parameters);
  for (std::int64_t s = 0; s < kSteps; ++s) {
    EXPECT_TRUE(exchange->begin({Step(s), {0, slices, slices}}, {lr(s)}).ok());
    gradients.compute(s, {0, slices, slices});
    for (std::int32_t r = 0; r < static_cast<std::int32_t>(layout.runs().size()); ++r)
      EXPECT_TRUE(gradients.push(*exchange, r).ok());
    EXPECT_TRUE(exchange->finish(0).ok());
    std::vector<double> parts;
    for (int r = 0; r < ranks; ++r) parts.push_back(loss_of(s, r));
    std::vector<const double*> terms;
    for (double& x : parts) terms.push_back(&x);
    update::tree_sum(std::span<const double* const>(terms), &losses.emplace_back(), 1);
  }
  return {parameters.begin(), parameters.end()};
}

/// One rank's exchange and the memory under it.
struct Worker {
  /// shared: mapped again by each rank, as by processes (the thread sanitizer sees no order that goes through the ring,
  /// which each end maps for itself).
  Worker(const Layout& layout, const Case& c, Rank& rank, const Arena& shared)
      : memory(*Arena::create("worker", 2 * layout.bytes())),
        common(*Arena::map(shared.id(), dup(shared.fd()), transport::Access::write)),
        parameters((c.memory == Memory::shared ? common : memory).bytes().first(layout.bytes())),
        gradients(layout, memory.bytes().last(layout.bytes())),
        slices{rank.rank * c.slices / c.ranks, (rank.rank + 1) * c.slices / c.ranks, c.slices} {
    AllReduceOptions options{.shared_parameters = c.memory == Memory::shared, .lend = {}};
    if (c.memory != Memory::copied) options.lend = {&memory};
    if (c.memory != Memory::shared || rank.rank == 0) fill(parameters, rank.rank);
    auto made = make_all_reduce_exchange(layout, rule(), parameters, *rank.links, options);
    EXPECT_TRUE(made.ok()) << made.status().message();
    exchange = std::move(*made);
  }
  Status begin(std::int64_t step) {
    COHAUL_TRY(exchange->begin({Step(step), slices}, {lr(step)}));
    gradients.compute(step, slices);
    return {};
  }

  Arena memory, common;
  Bytes parameters;
  Gradients gradients;
  update::SliceRange slices;
  std::unique_ptr<update::Exchange> exchange;
};

/// The runs in an order of this rank's own: backward's order is nobody's business.
std::vector<std::int32_t> order(const Layout& layout, int rank, std::int64_t step) {
  std::vector<std::int32_t> runs;
  for (std::int32_t r = 0; r < static_cast<std::int32_t>(layout.runs().size()); ++r) runs.push_back(r);
  std::rotate(runs.begin(), runs.begin() + static_cast<long>((rank + step) % static_cast<long>(runs.size())),
              runs.end());
  if (rank % 2 == 1) std::reverse(runs.begin(), runs.end());
  return runs;
}

class AllReduceExchange : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Fused, AllReduceExchange, testing::ValuesIn(cases()),
                         [](const auto& info) { return testing::PrintToString(info.param); });

void expect_one_process(const Layout& layout, const Case& c) {
  std::vector<double> losses;
  const auto expected = one_process(layout, c.ranks, c.slices, losses);
  Arena shared = *Arena::create("parameters", layout.bytes());
  Ranks all({c.form(), c.ranks});
  all.run([&](Rank& rank) {
    Worker w(layout, c, rank, shared);
    Status started = w.exchange->start(steady_clock().now() + Ranks::kLong);
    ASSERT_TRUE(started.ok()) << started.message();
    for (std::int64_t s = 0; s < kSteps; ++s) {
      if ((s + rank.rank) % 3 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(3));
      ASSERT_TRUE(w.begin(s).ok());
      for (std::int32_t r : order(layout, rank.rank, s)) {
        Status pushed = w.gradients.push(*w.exchange, r);
        ASSERT_TRUE(pushed.ok()) << pushed.message();
      }
      auto outcome = w.exchange->finish(loss_of(s, rank.rank));
      ASSERT_TRUE(outcome.ok()) << outcome.status().message();
      EXPECT_EQ(outcome->loss, losses[static_cast<std::size_t>(s)]) << s;
    }
    EXPECT_TRUE(std::ranges::equal(w.exchange->parameters(), expected)) << "rank " << rank.rank;
  });
}

TEST_P(AllReduceExchange, GivesTheBitsOfOneProcess) { expect_one_process(model(), GetParam()); }

/// One block: all ranks but one own nothing.
TEST_P(AllReduceExchange, GivesThemWhereMostRanksOwnNothing) {
  expect_one_process(*Layout::of({{"only", {5}, DType::float32, true}, {"none", {0}, DType::float32, true}}),
                     GetParam());
}

TEST_P(AllReduceExchange, KeepsItsPartOfTheStateOnly) {
  const Case& c = GetParam();
  Layout layout = model();
  Arena shared = *Arena::create("parameters", layout.bytes());
  std::atomic<std::size_t> bytes{0};
  Ranks all({c.form(), c.ranks});
  all.run([&](Rank& rank) {
    Worker w(layout, c, rank, shared);
    bytes += w.exchange->memory_bytes();
    EXPECT_TRUE(rank.group->barrier().ok());
  });
  auto whole = update::make_local_exchange(layout, rule(), shared.bytes())->memory_bytes();
  EXPECT_EQ(bytes, whole);
}

class Dying : public testing::TestWithParam<Case> {
 protected:
  /// Runs steps until one fails; the exchange then stays as it is.
  static Status run(Worker& w, const Layout& layout, int rank, std::int64_t steps) {
    for (std::int64_t s = 0; s < steps; ++s) {
      COHAUL_TRY(w.begin(s));
      for (std::int32_t r : order(layout, rank, s)) COHAUL_TRY(w.gradients.push(*w.exchange, r));
      COHAUL_TRY(w.exchange->finish(1).status());
    }
    return {};
  }
  static void expect_lost(Worker& w, const Status& why, int lost, int ranks) {
    EXPECT_EQ(why.code(), Code::peer_lost) << why.message();
    for (int r = 0; r < ranks; ++r)
      EXPECT_EQ(why.message().find("worker " + std::to_string(r)) != std::string::npos, r == lost) << why.message();
    bool operation = false;  // whichever meets it first
    for (const char* o : {"send a gradient", "send updated parameters", "end a step", "finish a step"})
      operation |= why.message().starts_with(o);
    EXPECT_TRUE(operation) << why.message();
    EXPECT_EQ(w.exchange->begin({Step(1000), w.slices}, {0.1}).message(), why.message());
    EXPECT_EQ(w.gradients.push(*w.exchange, 0).message(), why.message());
    EXPECT_EQ(w.exchange->finish(1).status().message(), why.message());
  }
};
INSTANTIATE_TEST_SUITE_P(Fused, Dying,
                         testing::Values(Case{Memory::shared, 2, 2}, Case{Memory::shared, 4, 4},
                                         Case{Memory::lent, 3, 3}, Case{Memory::copied, 2, 2},
                                         Case{Memory::copied, 4, 4}),
                         [](const auto& info) { return testing::PrintToString(info.param); });

/// Gone before, amid and after the pushes of its third step.
TEST_P(Dying, ARankInMidStepIsNamedByAll) {
  const Case& c = GetParam();
  Layout layout = model();
  for (std::size_t pushes = 0; pushes <= layout.runs().size(); pushes += 2) {
    Arena shared = *Arena::create("parameters", layout.bytes());
    Ranks all({c.form(), c.ranks});
    all.run([&](Rank& rank) {
      Worker w(layout, c, rank, shared);
      ASSERT_TRUE(w.exchange->start(kForever).ok());
      if (rank.rank != 1) return expect_lost(w, run(w, layout, rank.rank, 1000), 1, c.ranks);
      ASSERT_TRUE(run(w, layout, rank.rank, 2).ok());
      ASSERT_TRUE(w.begin(2).ok());
      for (std::size_t i = 0; i < pushes && i < layout.runs().size(); ++i)
        (void)w.gradients.push(*w.exchange, order(layout, rank.rank, 2)[i]);
      w.exchange.reset();
      rank.close();
    });
  }
}

TEST_P(Dying, AKilledProcessIsNamedByAll) {
  const Case& c = GetParam();
  Layout layout = model();
  for (int round = 0; round < 4; ++round) {
    Arena shared = *Arena::create("parameters", layout.bytes());
    Ranks all({c.form(), c.ranks});
    int last = c.ranks - 1;
    auto work = [&](Rank& rank, std::int64_t kill_at, pid_t child) {
      Worker w(layout, c, rank, shared);
      Status s = w.exchange->start(kForever);
      for (std::int64_t step = 0; s.ok(); ++step) {
        if (step == kill_at) kill(child, SIGKILL);
        s = w.begin(step);
        for (std::int32_t r : order(layout, rank.rank, step))
          if (s.ok()) s = w.gradients.push(*w.exchange, r);
        if (s.ok()) s = w.exchange->finish(1).status();
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

TEST(AllReduceTimeout, NamesWhoIsMissing) {
  Layout layout = model();
  Arena shared = *Arena::create("parameters", layout.bytes());
  Ranks all({transport::Form::arena, 3}, 1'500 * kMillisecond);
  std::atomic<int> told{0};
  all.run([&](Rank& rank) {
    Worker w(layout, {Memory::lent, 3, 3}, rank, shared);
    ASSERT_TRUE(w.exchange->start(kForever).ok());
    ASSERT_TRUE(w.begin(0).ok());
    for (std::int32_t r : order(layout, rank.rank, 0)) ASSERT_TRUE(w.gradients.push(*w.exchange, r).ok());
    while (rank.rank == 2 && told < 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (rank.rank == 2) return;
    Status s = w.exchange->finish(1).status();
    EXPECT_EQ(s.message(), "finish a step: no answer from worker 2 within 1.5 s");
    ++told;
  });
}

}  // namespace
}  // namespace cohaul::collective
