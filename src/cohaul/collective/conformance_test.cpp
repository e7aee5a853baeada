// What every backend of a group does: one suite, over every kind of channel. How it fails is in failure_test.cpp.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <span>
#include <utility>

#include "cohaul/collective/test_ranks.h"
#include "cohaul/update/sum.h"

namespace cohaul::collective {
namespace {

// None, one, fewer than the ranks, a prime, 10 MB.
const std::vector<std::size_t> kSizes{0, 1, 3, 1009, 10'000'000 / sizeof(float)};

template <class T>
bool same(std::span<const T> a, std::span<const T> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

/// What each rank gives to an operation, and the sum of all in tree order.
template <class T>
struct Inputs {
  Inputs(int ranks, std::size_t n, std::uint64_t seed = 0) : sum(n) {
    for (int r = 0; r < ranks; ++r) of.push_back(values_of<T>(r, n, seed));
    std::vector<const T*> pointers;
    for (const auto& t : of) pointers.push_back(t.data());
    update::tree_sum(std::span<const T* const>(pointers), sum.data(), n);
  }
  std::string what() const { return std::to_string(sum.size()) + " elements of " + std::string(name(dtype_of<T>())); }

  std::vector<std::vector<T>> of;  // by rank
  std::vector<T> sum;
};

template <class T>
std::span<T> part(std::vector<T>& whole, int rank, int ranks) {
  Piece p = piece_of(whole.size(), rank, ranks);
  return std::span(whole).subspan(p.begin, p.end - p.begin);
}

#define EXPECT_OK(expr)                           \
  do {                                            \
    Status status = (expr);                       \
    EXPECT_TRUE(status.ok()) << status.message(); \
  } while (0)

class Conformance : public testing::TestWithParam<Setting> {
 protected:
  int ranks() const { return GetParam().ranks; }
  /// f(rank, inputs) as each rank, for every size and both types.
  template <class F>
  void for_all(F f) {
    Ranks all(GetParam());
    std::vector<Inputs<float>> floats;
    std::vector<Inputs<double>> doubles;
    for (std::size_t n : kSizes) {
      floats.emplace_back(ranks(), n);
      doubles.emplace_back(ranks(), n / 2);
    }
    all.run([&](Rank& rank) {
      for (std::size_t i = 0; i < kSizes.size(); ++i) {
        f(rank, std::as_const(floats[i]));
        f(rank, std::as_const(doubles[i]));
      }
    });
  }
};
INSTANTIATE_TEST_SUITE_P(Group, Conformance, testing::ValuesIn(settings(1, 5)), name_of);

TEST(Inputs, AreOfAKindWhoseOrderMatters) {
  auto a = values_of<double>(0, 100), b = values_of<double>(1, 100), c = values_of<double>(2, 100);
  auto f = values_of<float>(0, 100), g = values_of<float>(1, 100), h = values_of<float>(2, 100);
  int doubles = 0, floats = 0;
  for (std::size_t i = 0; i < 100; ++i) {
    doubles += (a[i] + b[i]) + c[i] != a[i] + (b[i] + c[i]);
    floats += (f[i] + g[i]) + h[i] != f[i] + (g[i] + h[i]);
  }
  EXPECT_GT(doubles, 10);
  EXPECT_GT(floats, 10);
}

TEST_P(Conformance, KnowsItself) {
  Ranks all(GetParam());
  all.run([&](Rank& rank) {
    EXPECT_EQ(rank.group->rank(), rank.rank);
    EXPECT_EQ(rank.group->size(), ranks());
  });
}

TEST_P(Conformance, AllReduceIsTheTreeSumOnEveryRank) {
  for_all([&]<class T>(Rank& rank, const Inputs<T>& inputs) {
    auto data = inputs.of[rank.rank];
    EXPECT_OK(rank.group->all_reduce(buffer(std::span(data))));
    EXPECT_TRUE(same<T>(data, inputs.sum)) << inputs.what();
  });
}

TEST_P(Conformance, ReduceScatterGivesEachRankItsPieceAndLeavesTheInput) {
  for_all([&]<class T>(Rank& rank, const Inputs<T>& inputs) {
    auto in = inputs.of[rank.rank], whole = inputs.sum;
    auto mine = part(whole, rank.rank, ranks());
    std::vector<T> out(mine.size());
    EXPECT_OK(rank.group->reduce_scatter(buffer(std::span(in)), buffer(std::span(out))));
    EXPECT_TRUE(same<T>(out, mine)) << inputs.what();
    EXPECT_TRUE(same<T>(in, inputs.of[rank.rank])) << inputs.what();
  });
}

TEST_P(Conformance, AllGatherGivesAllPieces) {
  for_all([&]<class T>(Rank& rank, const Inputs<T>& inputs) {
    auto whole = inputs.sum;
    auto mine = part(whole, rank.rank, ranks());
    std::vector<T> out(whole.size()), in_place(whole.size());
    EXPECT_OK(rank.group->all_gather(buffer(mine), buffer(std::span(out))));
    EXPECT_TRUE(same<T>(out, inputs.sum)) << inputs.what();
    auto place = part(in_place, rank.rank, ranks());  // `in` may be where it belongs in `out`
    std::copy(mine.begin(), mine.end(), place.begin());
    EXPECT_OK(rank.group->all_gather(buffer(place), buffer(std::span(in_place))));
    EXPECT_TRUE(same<T>(in_place, inputs.sum)) << inputs.what() << " in place";
  });
}

TEST_P(Conformance, BroadcastFromEveryRoot) {
  for_all([&]<class T>(Rank& rank, const Inputs<T>& inputs) {
    for (int root = 0; root < ranks(); ++root) {
      auto data = inputs.of[rank.rank];
      EXPECT_OK(rank.group->broadcast(buffer(std::span(data)), root));
      EXPECT_TRUE(same<T>(data, inputs.of[root])) << inputs.what() << " from " << root;
      if (rank.rank == root) std::fill(data.begin(), data.end(), T(0));  // free to use again at return
    }
  });
}

TEST_P(Conformance, EveryRankSendsToEveryOther) {
  for_all([&]<class T>(Rank& rank, const Inputs<T>& inputs) {
    for (int from = 0; from < ranks(); ++from) {
      for (int to = 0; to < ranks(); ++to) {
        if (from == to || (rank.rank != from && rank.rank != to)) continue;
        auto data = inputs.of[rank.rank];
        EXPECT_OK(rank.rank == from ? rank.group->send(buffer(std::span(data)), to)
                                    : rank.group->receive(buffer(std::span(data)), from));
        EXPECT_TRUE(same<T>(data, inputs.of[from])) << inputs.what() << " from " << from << " to " << to;
        if (rank.rank == from) std::fill(data.begin(), data.end(), T(0));
      }
    }
  });
}

TEST_P(Conformance, NobodyLeavesABarrierBeforeAllHaveCome) {
  Ranks all(GetParam());
  std::atomic<int> come{0};
  all.run([&](Rank& rank) {
    for (int round = 1; round <= 50; ++round) {
      if (round % ranks() == rank.rank) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      ++come;
      EXPECT_OK(rank.group->barrier());
      EXPECT_GE(come, round * ranks());
    }
  });
}

/// Every operation in turn, without a pause, on the same buffers.
TEST_P(Conformance, OperationsInARow) {
  Ranks all(GetParam());
  all.run([&](Rank& rank) {
    Group& g = *rank.group;
    std::vector<float> data, piece;
    for (std::uint64_t round = 0; round < 60; ++round) {
      std::size_t n = round % 7 == 0 ? 40'000 : round * 13 % 101;
      data = values_of<float>(rank.rank, n, round);
      const auto sum = Inputs<float>(ranks(), n, round).sum;
      EXPECT_OK(g.all_reduce(buffer(std::span(data))));
      EXPECT_TRUE(same<float>(data, sum)) << round;
      data = values_of<float>(rank.rank, n, round);
      piece.assign(part(data, rank.rank, ranks()).size(), 0);
      EXPECT_OK(g.reduce_scatter(buffer(std::span(data)), buffer(std::span(piece))));
      EXPECT_OK(g.all_gather(buffer(std::span(piece)), buffer(std::span(data))));
      EXPECT_TRUE(same<float>(data, sum)) << round;
      int root = static_cast<int>(round) % ranks(), next = (rank.rank + 1) % ranks();
      data = values_of<float>(rank.rank, n, round + 1);
      EXPECT_OK(g.broadcast(buffer(std::span(data)), root));
      EXPECT_TRUE(same<float>(data, values_of<float>(root, n, round + 1))) << round;
      if (ranks() > 1) {
        auto passed = values_of<double>(rank.rank, n, round);
        std::vector<double> got(n);
        int before = (rank.rank + ranks() - 1) % ranks();
        if (rank.rank == 0) EXPECT_OK(g.send(buffer(std::span(passed)), next));
        EXPECT_OK(g.receive(buffer(std::span(got)), before));
        if (rank.rank != 0) EXPECT_OK(g.send(buffer(std::span(passed)), next));
        EXPECT_TRUE(same<double>(got, values_of<double>(before, n, round))) << round;
      }
      if (round % 5 == 0) EXPECT_OK(g.barrier());
    }
  });
}

TEST_P(Conformance, WhoComesLateIsWaitedFor) {
  const Inputs<float> inputs(ranks(), 5000);
  for (int late : {0, ranks() - 1}) {
    Ranks all(GetParam());
    all.run([&](Rank& rank) {
      for (int round = 0; round < 3; ++round) {
        if (rank.rank == late) std::this_thread::sleep_for(std::chrono::milliseconds(30));
        auto data = inputs.of[rank.rank];
        EXPECT_OK(rank.group->all_reduce(buffer(std::span(data))));
        EXPECT_TRUE(same<float>(data, inputs.sum)) << "late: " << late;
      }
    });
  }
}

/// Rank 0 waits for rank 1 alone.
TEST_P(Conformance, AMessageIsWaitedForWhileBystandersLeave) {
  if (ranks() < 3) return;  // in two there is no bystander
  Ranks all(GetParam());
  std::atomic<int> gone{0};
  all.run([&](Rank& rank) {
    float x = static_cast<float>(rank.rank);
    EXPECT_OK(rank.group->barrier());
    if (rank.rank == 0) {
      EXPECT_OK(rank.group->receive(buffer(std::span(&x, 1)), 1));
      EXPECT_EQ(x, 1);
    } else if (rank.rank == 1) {
      while (gone < ranks() - 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      EXPECT_OK(rank.group->send(buffer(std::span(&x, 1)), 0));
    } else {
      rank.close();
      ++gone;
    }
  });
}

/// A rank that is done may go while others still wait for another's part.
TEST_P(Conformance, WhoIsDoneMayLeave) {
  const Inputs<float> inputs(ranks(), 100'000);
  for (int round = 0; round < 20; ++round) {
    Ranks all(GetParam());
    all.run([&](Rank& rank) {
      auto data = inputs.of[rank.rank];
      EXPECT_OK(rank.group->barrier());
      EXPECT_OK(rank.group->all_reduce(buffer(std::span(data))));
      rank.close();
      EXPECT_TRUE(same<float>(data, inputs.sum));
    });
  }
}

}  // namespace
}  // namespace cohaul::collective
