// How a group fails: a rank that dies or never comes, ranks that call different things, arguments that make no sense.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <span>

#include "cohaul/collective/test_ranks.h"

namespace cohaul::collective {
namespace {

using Operation = std::function<Status(Group&)>;

/// One call of each operation in which all ranks take part.
std::vector<std::pair<std::string, Operation>> operations() {
  auto call = [](auto f) {
    return [f](Group& g) {
      std::vector<float> whole(1000, 1), piece(1000);
      Piece p = piece_of(whole.size(), g.rank(), g.size());
      return f(g, buffer(std::span(whole)), buffer(std::span(piece).first(p.end - p.begin)));
    };
  };
  return {{"all_reduce", call([](Group& g, Buffer whole, Buffer) { return g.all_reduce(whole); })},
          {"reduce_scatter", call([](Group& g, Buffer whole, Buffer piece) { return g.reduce_scatter(whole, piece); })},
          {"all_gather", call([](Group& g, Buffer whole, Buffer piece) { return g.all_gather(piece, whole); })},
          {"barrier", call([](Group& g, Buffer, Buffer) { return g.barrier(); })}};
}

bool has(const Status& s, std::string_view text) { return s.message().find(text) != std::string::npos; }

/// Every call fails as the first did.
void expect_poisoned(Group& g, const Status& first) {
  auto check = [&](const Status& s) {
    EXPECT_EQ(s.code(), first.code());
    EXPECT_EQ(s.message(), first.message());
  };
  float x = 1;
  Buffer one = buffer(std::span(&x, 1));
  for (auto& [name, operation] : operations()) check(operation(g));
  check(g.broadcast(one, 0));
  check(g.broadcast(one, -1));  // the first failure, whatever comes after
  for (int r = 0; r < g.size(); ++r) {
    if (r == g.rank()) continue;
    check(g.send(one, r));
    check(g.receive(one, r));
  }
}

void expect_lost(Group& g, const Status& s, const std::string& peer, const std::string& operation) {
  EXPECT_EQ(s.code(), Code::peer_lost) << s.message();
  for (int r = 0; r < g.size(); ++r) {
    std::string other = "worker " + std::to_string(r);
    EXPECT_EQ(has(s, other), other == peer) << s.message();
  }
  EXPECT_EQ(s.message().rfind(operation + ": ", 0), 0u) << s.message();
  expect_poisoned(g, s);
}

class Failure : public testing::TestWithParam<Setting> {
 protected:
  int ranks() const { return GetParam().ranks; }
};
INSTANTIATE_TEST_SUITE_P(Group, Failure, testing::ValuesIn(settings(2, 4)), name_of);

/// The last rank is gone. Rank 0 is there and does not call, so that the others can miss no other rank first.
TEST_P(Failure, ARankThatHasDiedIsNamedAtOnce) {
  for (auto& [name, operation] : operations()) {
    Ranks all(GetParam());
    std::atomic<int> told{0};
    all.run([&](Rank& rank) {
      ASSERT_TRUE(rank.group->barrier().ok());
      int last = ranks() - 1;
      if (rank.rank == last) return rank.close();
      while (rank.rank == 0 && told < ranks() - 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      Time start = rank.poller->clock().now();
      Status s = operation(*rank.group);
      EXPECT_LT(rank.poller->clock().now() - start, Ranks::kLong / 2) << name;
      expect_lost(*rank.group, s, "worker " + std::to_string(last), name);
      ++told;
    });
  }
}

/// A real process, killed at any moment between two of its instructions.
TEST_P(Failure, AProcessThatIsKilledIsNamed) {
  for (int round = 0; round < 6; ++round) {
    auto [name, operation] = operations()[static_cast<std::size_t>(round) % 4];
    Ranks all(GetParam());
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      all.run_as_last([&](Rank& rank) {
        while (operation(*rank.group).ok()) continue;
      });
      _exit(0);
    }
    int last = ranks() - 1;
    std::atomic<bool> killed{false};
    all.run(0, last, [&](Rank& rank) {
      Status s;
      for (int i = 0; s.ok(); ++i) {
        if (rank.rank == 0 && i == 20 + 7 * round && !killed.exchange(true)) kill(child, SIGKILL);
        s = operation(*rank.group);
      }
      expect_lost(*rank.group, s, "worker " + std::to_string(last), name);
    });
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
}

TEST_P(Failure, ARankThatNeverCallsIsNamedAtTheDeadline) {
  std::vector<std::thread> threads;  // the operations wait at the same time
  for (auto& o : operations()) {
    threads.emplace_back([this, o] {
      auto& [name, operation] = o;
      Ranks all(GetParam(), 1'500 * kMillisecond);
      std::atomic<int> told{0};
      all.run([&](Rank& rank) {
        ASSERT_TRUE(rank.group->barrier().ok());
        int last = ranks() - 1;
        if (rank.rank == last) {
          while (told < last) std::this_thread::sleep_for(std::chrono::milliseconds(1));
          return;
        }
        Status s = operation(*rank.group);
        EXPECT_TRUE(has(s, "within 1.5 s")) << s.message();
        expect_lost(*rank.group, s, "worker " + std::to_string(last), name);
        ++told;
      });
    });
  }
  for (std::thread& t : threads) t.join();
}

TEST(Timeout, NamesAllThatAreMissing) {
  Ranks all({transport::Form::arena, 4}, 500 * kMillisecond);
  std::atomic<bool> told{false};
  all.run([&](Rank& rank) {
    while (rank.rank % 2 == 1 && !told) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (rank.rank != 0) return;
    Status s = rank.group->barrier();
    EXPECT_EQ(s.message(), "barrier: no answer from worker 1, worker 2, worker 3 within 0.5 s");
    told = true;
  });
}

/// What two ranks call at once, and what each is told.
struct Mismatch {
  std::string name;
  Operation zero, others;
};

std::vector<Mismatch> mismatches() {
  auto reduce = [](std::size_t n) {
    return [n](Group& g) {
      std::vector<float> data(n);
      return g.all_reduce(buffer(std::span(data)));
    };
  };
  auto reduce_doubles = [](Group& g) {
    std::vector<double> data(1000);
    return g.all_reduce(buffer(std::span(data)));
  };
  auto by_name = [](const std::string& wanted) {
    for (auto& [name, operation] : operations())
      if (name == wanted) return operation;
    return Operation();
  };
  return {{"other_sizes", reduce(1000), reduce(1001)},
          {"none_or_one", reduce(0), reduce(1)},
          {"other_types_of_equal_bytes", reduce(2000), reduce_doubles},
          {"sum_or_scatter", by_name("all_reduce"), by_name("reduce_scatter")},
          {"scatter_or_gather", by_name("reduce_scatter"), by_name("all_gather")},
          {"sum_or_barrier", by_name("all_reduce"), by_name("barrier")}};
}

TEST_P(Failure, RanksThatCallDifferentThingsAreToldBoth) {
  for (const Mismatch& m : mismatches()) {
    Ranks all(GetParam());
    all.run([&](Rank& rank) {
      Status s = (rank.rank == 0 ? m.zero : m.others)(*rank.group);
      EXPECT_EQ(s.code(), Code::invalid) << m.name << ": " << s.message();
      EXPECT_TRUE(has(s, rank.rank == 0 ? "worker 1" : "worker 0")) << m.name << ": " << s.message();
      expect_poisoned(*rank.group, s);
    });
  }
}

TEST(Mismatch, SaysWhatMeetsWhat) {
  Ranks all({transport::Form::arena, 2});
  all.run([&](Rank& rank) {
    std::vector<float> floats(10);
    std::vector<double> doubles(20);
    Status s = rank.rank == 0 ? rank.group->all_reduce(buffer(std::span(floats)))
                              : rank.group->receive(buffer(std::span(doubles)), 0);
    EXPECT_EQ(s.code(), rank.rank == 0 ? Code::peer_lost : Code::invalid) << s.message();
    if (rank.rank == 0) return;
    EXPECT_EQ(s.message(),
              "receive of 20 float64 elements here meets all_reduce of 10 float32 elements of worker 0: all ranks must "
              "call the same operations, in the same order, with the same sizes and types");
    rank.close();  // it had sent nothing that would tell the other
  });
}

/// A root does not wait for others, so it learns of another root at the next operation.
TEST_P(Failure, TwoRootsAreFoundAtTheNextOperation) {
  Ranks all(GetParam());
  all.run([&](Rank& rank) {
    std::vector<float> data(10);
    Status s = rank.group->broadcast(buffer(std::span(data)), rank.rank == 0 ? 0 : 1);
    if (s.ok()) s = rank.group->barrier();
    EXPECT_EQ(s.code(), Code::invalid) << s.message();
    expect_poisoned(*rank.group, s);
  });
}

/// Nothing has been sent, so the group goes on.
TEST_P(Failure, BadArgumentsAreRefusedAndPoisonNothing) {
  Ranks all(GetParam());
  all.run([&](Rank& rank) {
    Group& g = *rank.group;
    std::vector<float> ten(10), eleven(11);
    std::vector<double> doubles(10);
    Buffer a = buffer(std::span(ten)), b = buffer(std::span(eleven));
    Piece p = piece_of(10, g.rank(), g.size());
    Buffer piece_of_doubles = buffer(std::span(doubles).first(p.end - p.begin));
    auto refused = [](const Status& s, std::string_view what) {
      EXPECT_EQ(s.code(), Code::invalid) << what << ": " << s.message();
      EXPECT_TRUE(has(s, what)) << s.message();
    };
    for (int root : {-1, g.size(), 1 << 30}) {
      refused(g.broadcast(a, root), "broadcast from rank " + std::to_string(root));
      refused(g.send(a, root), "send to rank " + std::to_string(root));
      refused(g.receive(a, root), "receive from rank " + std::to_string(root));
    }
    refused(g.send(a, g.rank()), "itself");
    refused(g.receive(a, g.rank()), "itself");
    refused(g.reduce_scatter(a, b), "reduce_scatter");
    refused(g.reduce_scatter(a, piece_of_doubles), "float64");
    refused(g.all_gather(b, a), "all_gather");
    refused(g.all_gather(piece_of_doubles, a), "float64");
    refused(g.all_reduce({nullptr, 10, DType::float32}), "all_reduce");
    EXPECT_TRUE(g.barrier().ok());
    EXPECT_TRUE(g.all_reduce(a).ok());
    EXPECT_TRUE(g.all_reduce({nullptr, 0, DType::float32}).ok()) << "nothing needs no place";
  });
}

TEST(AlonePeer, HasNobodyToSendTo) {
  Ranks all({transport::Form::arena, 1});
  all.run([&](Rank& rank) {
    float x = 3;
    EXPECT_EQ(rank.group->send(buffer(std::span(&x, 1)), 0).code(), Code::invalid);
    EXPECT_TRUE(rank.group->broadcast(buffer(std::span(&x, 1)), 0).ok());
    EXPECT_EQ(x, 3);
  });
}

}  // namespace
}  // namespace cohaul::collective
