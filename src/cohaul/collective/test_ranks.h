#pragma once
// For tests: the ranks of a group over real channels, each on a thread of its own, or in a process of its own.

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include "cohaul/collective/direct_group.h"
#include "cohaul/transport/endpoint.h"

namespace cohaul {

inline void PrintTo(Code code, std::ostream* out) { *out << name(code); }

}  // namespace cohaul

namespace cohaul::collective {

/// What a suite runs over: how frames travel, and how many ranks there are.
struct Setting {
  transport::Form form = transport::Form::arena;
  int ranks = 2;
};
inline std::ostream& operator<<(std::ostream& out, const Setting& s) {
  return out << name(s.form) << '_' << s.ranks << (s.ranks == 1 ? "_rank" : "_ranks");
}
inline std::vector<Setting> settings(int first, int last) {
  std::vector<Setting> out;
  for (transport::Form form : {transport::Form::arena, transport::Form::tcp})
    for (int ranks = first; ranks <= last; ++ranks) out.push_back({form, ranks});
  return out;
}
inline std::string name_of(const testing::TestParamInfo<Setting>& info) { return testing::PrintToString(info.param); }

/// For ranks without a job that watches over them.
class NoWatch final : public Watch {
 public:
  Status health() const override { return {}; }
  bool set_waiting(bool) override { return false; }
  Status overdue(Duration) override { return {}; }
};

/// What one rank holds; its owner may close it early, which is how it dies.
struct Rank {
  int rank = 0;
  std::unique_ptr<transport::Poller> poller;
  std::unique_ptr<Links> links;
  std::unique_ptr<Group> group;
  void close() {
    group.reset();
    links.reset();
  }
};

/// Where the ranks of one test meet.
class Ranks {
 public:
  static constexpr Duration kLong = 60 * kSecond;  // for what succeeds, also on a loaded machine

  explicit Ranks(Setting setting, Duration timeout = kLong) : setting_(setting), timeout_(timeout) {
    for (int r = 0; r < setting.ranks; ++r) {
      pollers_.push_back(*transport::make_poller());
      endpoints_.push_back(*transport::listen(*pollers_.back(), identity(r), "127.0.0.1", 0));
    }
  }

  /// Calls f as each rank of [first, last), on a thread each. All keep their connections until all are done.
  void run(int first, int last, const std::function<void(Rank&)>& f) {
    std::vector<Rank> ranks(static_cast<std::size_t>(setting_.ranks));
    std::vector<std::thread> threads;
    for (int r = first; r < last; ++r) {
      threads.emplace_back([&, r] {
        Rank& rank = ranks[static_cast<std::size_t>(r)];
        rank.rank = r;
        rank.poller = std::move(pollers_[static_cast<std::size_t>(r)]);
        connect(rank, endpoints_[static_cast<std::size_t>(r)].get());
        if (rank.group) f(rank);
      });
    }
    for (std::thread& t : threads) t.join();
    for (auto& e : endpoints_) e.reset();
  }
  void run(const std::function<void(Rank&)>& f) { run(0, setting_.ranks, f); }

  /// Calls f as the last rank, in a forked process. It listens to no rank and so needs nothing of its parent's.
  void run_as_last(const std::function<void(Rank&)>& f) {
    Rank rank;
    rank.rank = setting_.ranks - 1;
    rank.poller = *transport::make_poller();
    connect(rank, nullptr);
    if (rank.group) f(rank);
  }

 private:
  static transport::Identity identity(int rank) {
    transport::Identity who;
    who.job = 7;
    who.token = 9;
    who.rank = rank;
    who.incarnation = Incarnation(static_cast<std::uint64_t>(100 + rank));
    who.purpose = "group";
    return who;
  }

  void connect(Rank& rank, transport::Endpoint* endpoint) {
    std::vector<std::unique_ptr<transport::Channel>> channels(static_cast<std::size_t>(setting_.ranks));
    Time deadline = rank.poller->clock().now() + kLong;
    for (int r = 0; r < rank.rank; ++r) {
      auto c = transport::connect(endpoints_[static_cast<std::size_t>(r)]->address(), identity(rank.rank),
                                  setting_.form, deadline);
      ASSERT_TRUE(c.ok()) << c.status().message();
      channels[static_cast<std::size_t>(r)] = std::move(*c);
    }
    for (int left = setting_.ranks - 1 - rank.rank; left > 0;) {
      auto c = endpoint->accept();
      ASSERT_TRUE(c.ok()) << c.status().message();
      if (*c != nullptr) {
        channels[static_cast<std::size_t>((*c)->peer().rank)] = std::move(*c);
        --left;
        continue;
      }
      ASSERT_LT(rank.poller->clock().now(), deadline);
      ASSERT_TRUE(rank.poller->wait(deadline).ok());
    }
    for (auto& c : channels) {
      if (c == nullptr) continue;
      ASSERT_TRUE(rank.poller->add(*c).ok());
    }
    rank.links = std::make_unique<Links>(rank.rank, std::move(channels), *rank.poller, watch_, timeout_);
    rank.group = make_direct_group(*rank.links);
  }

  Setting setting_;
  Duration timeout_;
  NoWatch watch_;
  std::vector<std::unique_ptr<transport::Poller>> pollers_;
  std::vector<std::unique_ptr<transport::Endpoint>> endpoints_;
};

/// Returns values of so different sizes that another order of summing gives other bits.
template <class T>
std::vector<T> values_of(int rank, std::size_t n, std::uint64_t seed = 0) {
  std::vector<T> out(n);
  std::uint64_t next = (1000 * seed + static_cast<std::uint64_t>(rank)) << 32;
  for (T& x : out) {  // SplitMix64: base/random.h is too slow for the large ones
    std::uint64_t bits = (next += 0x9E3779B97F4A7C15);
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9;
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB;
    x = static_cast<T>(static_cast<std::int64_t>(bits) >> 10) / static_cast<T>(1 << (bits & 15));
  }
  return out;
}

}  // namespace cohaul::collective
