#include "cohaul/job/hosts/probe.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include "cohaul/job/connect.h"

namespace cohaul::job {
namespace {

using transport::Channel;
using transport::Frame;
using transport::Poller;

enum Kind : std::uint16_t { kPing = 1, kDone, kData, kReceived };
constexpr std::size_t kFrameBytes = 1 << 20, kInFlight = 8;
constexpr int kPingsMost = 2000;
constexpr Duration kPatience = 30 * kSecond;

/// Returns how many TCP segments this host has sent again since it started.
std::int64_t retransmitted() {
  std::ifstream in("/proc/net/snmp");
  std::string names, values;
  while (std::getline(in, names) && std::getline(in, values)) {
    if (!names.starts_with("Tcp:")) continue;
    std::istringstream n(names), v(values);
    for (std::string name, value; n >> name && v >> value;)
      if (name == "RetransSegs") return std::stoll(value);
  }
  return 0;
}

/// The two ends of one pair. Everything that blocks does so until kPatience is over.
class End {
 public:
  End(Channel& channel, Poller& poller) : channel_(channel), poller_(poller) {}

  Result<double> round_trip(Duration limit) {
    std::vector<Duration> all;
    const Time until = steady_clock().now() + limit;
    while (all.empty() || (steady_clock().now() < until && all.size() < kPingsMost)) {
      const Time start = steady_clock().now();
      COHAUL_TRY(send({.kind = kPing}));
      COHAUL_TRY(receive(kPing).status());
      all.push_back(steady_clock().now() - start);
    }
    COHAUL_TRY(send({.kind = kDone}));
    std::nth_element(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2), all.end());
    return static_cast<double>(all[all.size() / 2]) / 1000;
  }

  Status answer() {
    for (;;) {
      COHAUL_ASSIGN(const Frame frame, receive());
      if (frame.kind == kDone) return {};
      COHAUL_TRY(send({.kind = kPing}));
    }
  }

  /// Sends for as long as `limit`. Returns MB/s, as the other end has received.
  Result<double> pour(Duration limit) {
    const std::vector<std::byte> payload(kFrameBytes);
    const Time start = steady_clock().now();
    std::size_t sent = 0, received = 0;
    while (steady_clock().now() < start + limit || sent == 0) {
      COHAUL_TRY(send({.kind = kData, .payload = payload}));
      ++sent;
      for (; sent - received >= kInFlight; ++received) COHAUL_TRY(receive(kReceived).status());
    }
    for (; received < sent; ++received) COHAUL_TRY(receive(kReceived).status());
    const Duration took = steady_clock().now() - start;
    COHAUL_TRY(send({.kind = kDone}));
    return static_cast<double>(sent * kFrameBytes) * 1e3 / static_cast<double>(took);
  }

  Status take() {
    for (;;) {
      COHAUL_ASSIGN(const Frame frame, receive());
      if (frame.kind == kDone) return {};
      COHAUL_TRY(send({.kind = kReceived}));
    }
  }

 private:
  Status send(const transport::Message& message) {
    COHAUL_TRY(channel_.send(message));
    for (const Time deadline = steady_clock().now() + kPatience;;) {
      COHAUL_ASSIGN(const bool written, channel_.flush());
      if (written) return {};
      if (steady_clock().now() >= deadline) return peer_lost("the other end takes nothing");
      COHAUL_TRY(poller_.wait(deadline));
    }
  }

  Result<Frame> receive(std::uint16_t kind = 0) {
    for (const Time deadline = steady_clock().now() + kPatience;;) {
      COHAUL_ASSIGN(std::optional<Frame> frame, channel_.receive());
      if (frame && (kind == 0 || frame->kind == kind)) return std::move(*frame);
      if (frame) return corrupt("a frame that was not expected");
      if (steady_clock().now() >= deadline) return peer_lost("no answer");
      COHAUL_TRY(poller_.wait(deadline));
    }
  }

  Channel& channel_;
  Poller& poller_;
};

Result<PairProbe> measure(Job& job, Channel& channel, Poller& poller, int to, Duration each) {
  PairProbe out;
  out.from = job.rank();
  out.to = to;
  End end(channel, poller);
  const bool encrypted = !std::holds_alternative<std::monostate>(job.identity("").credentials);
  out.form = channel.shares_memory() ? "memory" : encrypted ? "TLS" : "TCP";
  COHAUL_ASSIGN(out.round_trip_us, end.round_trip(each));
  COHAUL_ASSIGN(out.mb_per_s_there, end.pour(each));
  COHAUL_TRY(end.take());
  return out;
}

Result<double> assist(Channel& channel, Poller& poller, Duration each) {
  End end(channel, poller);
  COHAUL_TRY(end.answer());
  COHAUL_TRY(end.take());
  return end.pour(each);
}

std::string key_of(int from, int to, const char* what) {
  return "probe/" + std::to_string(from) + "/" + std::to_string(to) + "/" + what;
}

/// Measures one pair. What its two ends have found goes through the store.
Status probe_pair(Job& job, Channel& channel, Poller& poller, int from, int to, Duration each) {
  const std::int64_t before = retransmitted();
  if (job.rank() == to) {
    COHAUL_ASSIGN(const double back, assist(channel, poller, each));
    return job.set(key_of(from, to, "back"), std::to_string(back) + " " + std::to_string(retransmitted() - before));
  }
  COHAUL_ASSIGN(const PairProbe found, measure(job, channel, poller, to, each));
  return job.set(key_of(from, to, "there"), std::to_string(found.round_trip_us) + " " +
                                                std::to_string(found.mb_per_s_there) + " " +
                                                std::to_string(retransmitted() - before) + " " + found.form);
}

Result<PairProbe> found_by(Job& job, int from, int to, Time deadline) {
  PairProbe out;
  out.from = from;
  out.to = to;
  std::int64_t again = 0;
  COHAUL_ASSIGN(const std::string there, job.get(key_of(from, to, "there"), deadline));
  COHAUL_ASSIGN(const std::string back, job.get(key_of(from, to, "back"), deadline));
  std::istringstream(there) >> out.round_trip_us >> out.mb_per_s_there >> out.retransmitted >> out.form;
  std::istringstream(back) >> out.mb_per_s_back >> again;
  out.retransmitted += again;
  return out;
}

}  // namespace

Result<std::vector<PairProbe>> probe_pairs(Job& job, Duration each) {
  COHAUL_ASSIGN(std::unique_ptr<Poller> poller, transport::make_poller());
  const Time deadline = steady_clock().now() + seconds(job.options().join_timeout_s);
  COHAUL_ASSIGN(const auto channels, connect_workers(job, *poller, "probe", 0, deadline));
  std::vector<PairProbe> out;
  for (int from = 0; from < job.world(); ++from) {
    for (int to = from + 1; to < job.world(); ++to) {
      const std::string pair = key_of(from, to, "turn");
      COHAUL_TRY(job.barrier(pair, job.world(), steady_clock().now() + 4 * kPatience));  // one pair at a time
      if (job.rank() == from || job.rank() == to) {
        Channel& channel = *channels[static_cast<std::size_t>(job.rank() == from ? to : from)];
        COHAUL_TRY(probe_pair(job, channel, *poller, from, to, each)
                       .context("worker " + std::to_string(from) + " and worker " + std::to_string(to)));
      }
      if (job.rank() != 0) continue;
      COHAUL_ASSIGN(PairProbe found, found_by(job, from, to, steady_clock().now() + 4 * kPatience));
      out.push_back(std::move(found));
    }
  }
  COHAUL_TRY(job.barrier("probe/end", job.world(), steady_clock().now() + 4 * kPatience));
  for (auto& channel : channels)
    if (channel) poller->remove(*channel);
  return out;
}

}  // namespace cohaul::job
