#include "cohaul/cli/core_distance.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <thread>

#include "cohaul/observe/format.h"

namespace cohaul::cli {
namespace {

constexpr std::size_t kCpusMost = 16;
constexpr int kTripsOfATry = 20;  // few: both threads must run all the time
constexpr Duration kLeastOfAPair = 2 * kMillisecond;
constexpr std::uint32_t kEnd = UINT32_MAX;

bool pin_this_thread(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(cpu), &set);
  return ::pthread_setaffinity_np(::pthread_self(), sizeof set, &set) == 0;
}

/// One side writes odd numbers, the other answers each with the next even one.
struct Line {
  alignas(128) std::atomic<std::uint32_t> number{0};
  alignas(128) std::atomic<bool> failed{false};
};

void answer(Line& line, int cpu) {
  if (!pin_this_thread(cpu)) line.failed = true;
  for (;;) {
    const std::uint32_t now = line.number.load(std::memory_order_acquire);
    if (now == kEnd) return;
    if (now % 2 == 1) line.number.store(now + 1, std::memory_order_release);
  }
}

/// Returns the shortest mean round trip of a try.
double ask(Line& line, Duration each) {
  const Clock& clock = steady_clock();
  const Time end = clock.now() + each;
  double shortest = 0;
  std::uint32_t sent = 1;
  do {
    const Time begun = clock.now();
    for (int trip = 0; trip < kTripsOfATry; ++trip, sent += 2) {
      line.number.store(sent, std::memory_order_release);
      while (line.number.load(std::memory_order_acquire) == sent) continue;
    }
    const double mean = static_cast<double>(clock.now() - begun) / kTripsOfATry;
    if (shortest == 0 || mean < shortest) shortest = mean;
  } while (clock.now() < end);
  return shortest;
}

std::optional<double> round_trip_ns(int from, int to, Duration each) {
  Line line;
  double shortest = 0;
  std::thread asking([&] {
    if (!pin_this_thread(from)) line.failed = true;
    std::thread answering(answer, std::ref(line), to);
    shortest = ask(line, each);
    line.number = kEnd;
    answering.join();
  });
  asking.join();
  if (line.failed) return std::nullopt;
  return shortest;
}

std::string text_of(const CorePair& pair) {
  return observe::fixed(pair.round_trip_ns, 0) + " ns (" + std::to_string(pair.from) + "-" + std::to_string(pair.to) +
         ")";
}

}  // namespace

std::vector<CorePair> core_distances(const std::vector<int>& cpus, Duration all) {
  std::vector<int> chosen;
  const std::size_t count = std::min(cpus.size(), kCpusMost);
  if (count < 2) return {};
  for (std::size_t i = 0; i < count; ++i) chosen.push_back(cpus[i * cpus.size() / count]);
  const auto pairs_of_them = static_cast<Duration>(count * (count - 1) / 2);
  const Duration each = std::max(all / pairs_of_them, kLeastOfAPair);
  std::vector<CorePair> pairs;
  for (std::size_t a = 0; a < chosen.size(); ++a)
    for (std::size_t b = a + 1; b < chosen.size(); ++b)
      if (const auto time = round_trip_ns(chosen[a], chosen[b], each)) pairs.push_back({chosen[a], chosen[b], *time});
  return pairs;
}

std::string summary_of(std::vector<CorePair> pairs) {
  if (pairs.empty()) return "";
  std::ranges::sort(pairs, {}, &CorePair::round_trip_ns);
  if (pairs.size() == 1) return text_of(pairs.front());
  return text_of(pairs.front()) + " to " + text_of(pairs.back()) + ", median " +
         observe::fixed(pairs[pairs.size() / 2].round_trip_ns, 0) + " ns";
}

}  // namespace cohaul::cli
