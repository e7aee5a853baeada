#include "cohaul/transport/sim_network.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <deque>
#include <queue>
#include <vector>

#include "cohaul/base/align.h"
#include "cohaul/base/check.h"
#include "cohaul/base/random.h"
#include "cohaul/transport/frame_pool.h"
#include "cohaul/transport/wire.h"

namespace cohaul::transport {

struct SimNetwork::World final : Clock {
  explicit World(const SimSettings& s) : settings(s), random(s.seed) {}
  Time now() const override { return time; }
  Time draw_arrival() {
    return time + settings.delay_min +
           static_cast<Duration>(random.below(static_cast<std::uint64_t>(settings.delay_max - settings.delay_min) + 1));
  }
  bool step(Time until) {
    while (!arrivals.empty() && arrivals.top() <= time) arrivals.pop();
    if (arrivals.empty() || arrivals.top() > until) return false;
    time = arrivals.top();
    return true;
  }

  SimSettings settings;
  Random random;
  Time time = 0;
  std::uint64_t trace = 0, lanes = 0;
  std::priority_queue<Time, std::vector<Time>, std::greater<>> arrivals;
};

namespace {

/// Held by a frame in flight by address, and then by its receiver: the body's copy, and the sender's payload.
struct Address final : Frame::Hold {
  explicit Address(PooledBuffer* b, std::shared_ptr<const void> k) : body(b), keep(std::move(k)) {}
  void release() override { delete this; }
  Frame body;
  std::shared_ptr<const void> keep;
};

struct Parcel {
  Time arrival = 0;
  Frame frame;
};

/// One direction of a connection.
struct Lane {
  explicit Lane(std::uint64_t n) : number(n) {}
  const std::uint64_t number;
  std::deque<Parcel> parcels;
  Time last_arrival = 0;
  Time end = kForever;  // when the receiver finds its peer gone
};

}  // namespace

class SimNetwork::End final : public Channel {
 public:
  End(std::shared_ptr<World> world, std::shared_ptr<Lane> out, std::shared_ptr<Lane> in, Identity peer, bool one_host)
      : world_(std::move(world)),
        out_(std::move(out)),
        in_(std::move(in)),
        peer_(std::move(peer)),
        one_host_(one_host),
        pool_(std::make_shared<FramePool>()) {}
  ~End() override { finish(*out_); }

  Status send(const Message& message) override;
  Result<std::optional<Frame>> receive() override;
  Result<bool> flush() override { return true; }
  Status lend(const Arena& arena) override {
    if (one_host_) lent_.push_back(&arena);
    return {};
  }
  void set_place(Place place) override { place_ = std::move(place); }
  const Identity& peer() const override { return peer_; }
  bool shares_memory() const override { return one_host_; }
  std::uint64_t payload_bytes_sent() const override { return payload_bytes_sent_; }

  void hold(Time until) { out_->last_arrival = std::max(out_->last_arrival, until); }
  bool ready() const {
    return (!in_->parcels.empty() && in_->parcels.front().arrival <= world_->time) || (lost() && !told_);
  }
  void cut() {
    for (Lane* lane : {out_.get(), in_.get()}) {
      lane->parcels.clear();
      lane->last_arrival = world_->time;
      finish(*lane);
    }
  }

 private:
  Result<Frame> pack(const Message& message);
  void unpack(Frame& frame);
  bool lost() const { return in_->end <= world_->time; }
  Status gone() const { return peer_lost(describe(peer_) + ": connection closed"); }
  // The end travels like a frame, after all frames.
  void finish(Lane& lane) {
    if (lane.end != kForever) return;
    lane.end = std::max(lane.last_arrival, world_->draw_arrival());
    world_->arrivals.push(lane.end);
  }

  std::shared_ptr<World> world_;
  std::shared_ptr<Lane> out_, in_;
  Identity peer_;
  const bool one_host_;
  std::shared_ptr<FramePool> pool_;
  Place place_;
  std::vector<const Arena*> lent_;
  std::uint64_t payload_bytes_sent_ = 0;
  bool told_ = false;
};

Status SimNetwork::End::send(const Message& message) {
  COHAUL_TRY(check_message(message));
  if (lost()) return gone();
  if (out_->parcels.size() >= kQueueFramesMax)
    return unavailable(describe(peer_) + ": the queue of frames to it is full");
  if (world_->settings.loss > 0 && world_->random.uniform() < world_->settings.loss) cut();
  if (out_->end != kForever) return {};  // broken, and neither end has found out yet
  COHAUL_ASSIGN(Frame frame, pack(message));
  out_->last_arrival = std::max(out_->last_arrival, world_->draw_arrival());
  world_->arrivals.push(out_->last_arrival);
  out_->parcels.push_back({out_->last_arrival, std::move(frame)});
  return {};
}

Result<Frame> SimNetwork::End::pack(const Message& message) {
  bool by_address = !message.payload.empty() && std::any_of(lent_.begin(), lent_.end(), [&](const Arena* arena) {
    return arena->region_of(message.payload).arena != kNoArena;
  });
  std::size_t payload_at = aligned(message.body.size());
  PooledBuffer* buffer = pool_->take(payload_at + (by_address ? 0 : message.payload.size()));
  if (buffer == nullptr) return internal("no memory for a simulated frame");
  Frame frame(by_address ? static_cast<Frame::Hold*>(new Address(buffer, message.keep)) : buffer);
  frame.kind = message.kind;
  frame.clock = message.clock;
  frame.key = message.key;
  frame.by_address = by_address;
  frame.body = {buffer->data, message.body.size()};
  if (!message.body.empty()) std::memcpy(buffer->data, message.body.data(), message.body.size());
  frame.payload = by_address ? message.payload : ConstBytes(buffer->data + payload_at, message.payload.size());
  if (by_address || message.payload.empty()) return frame;
  payload_bytes_sent_ += message.payload.size();
  std::memcpy(buffer->data + payload_at, message.payload.data(), message.payload.size());
  return frame;
}

Result<std::optional<Frame>> SimNetwork::End::receive() {
  if (!in_->parcels.empty() && in_->parcels.front().arrival <= world_->time) {
    Frame frame = std::move(in_->parcels.front().frame);
    in_->parcels.pop_front();
    unpack(frame);
    return std::optional<Frame>(std::move(frame));
  }
  if (!lost()) return std::optional<Frame>{};
  told_ = true;
  return gone();
}

void SimNetwork::End::unpack(Frame& frame) {
  for (std::uint64_t word :
       {in_->number, static_cast<std::uint64_t>(world_->time), std::uint64_t{frame.kind},
        static_cast<std::uint64_t>(frame.clock), frame.key, content_checksum(frame.body, frame.payload)}) {
    world_->trace = mix_seed(world_->trace, word);
  }
  if (!place_ || frame.payload.empty() || frame.by_address) return;
  Bytes place = place_(frame.kind, frame.clock, frame.key, frame.payload.size());
  if (place.size() != frame.payload.size()) return;
  std::memcpy(place.data(), frame.payload.data(), place.size());
  frame.payload = place;
}

class SimNetwork::SimPoller final : public Poller {
 public:
  explicit SimPoller(std::shared_ptr<World> world) : world_(std::move(world)) {}
  Status add(Channel& channel) override {
    auto* end = dynamic_cast<End*>(&channel);
    if (end == nullptr) return invalid("a channel of another network cannot be added to this poller");
    ends_.push_back(end);
    return {};
  }
  void remove(Channel& channel) override {
    std::erase_if(ends_, [&](End* e) { return e == &channel; });
  }
  Status wait(Time deadline) override {
    for (;;) {
      if (woken_.exchange(false)) return {};
      for (const End* e : ends_) {
        if (e->ready()) return {};
      }
      if (world_->step(deadline)) continue;
      if (deadline == kForever)
        return internal("the simulated network is quiet, and somebody waits for it without a deadline");
      world_->time = std::max(world_->time, deadline);
      return {};
    }
  }
  void wake() override { woken_.store(true); }
  void set_spin(Duration) override {}
  const Clock& clock() const override { return *world_; }

 private:
  std::shared_ptr<World> world_;
  std::vector<End*> ends_;
  std::atomic<bool> woken_{false};
};

SimNetwork::SimNetwork(const SimSettings& settings) : world_(std::make_shared<World>(settings)) {}
SimNetwork::~SimNetwork() = default;

const Clock& SimNetwork::clock() const { return *world_; }

std::unique_ptr<Poller> SimNetwork::make_poller() { return std::make_unique<SimPoller>(world_); }

std::pair<std::unique_ptr<Channel>, std::unique_ptr<Channel>> SimNetwork::connect(const Identity& first,
                                                                                  const Identity& second) {
  return connect(first, second, world_->settings.one_host);
}

std::pair<std::unique_ptr<Channel>, std::unique_ptr<Channel>> SimNetwork::connect(const Identity& first,
                                                                                  const Identity& second,
                                                                                  bool one_host) {
  auto there = std::make_shared<Lane>(world_->lanes++), back = std::make_shared<Lane>(world_->lanes++);
  return {std::make_unique<End>(world_, there, back, second, one_host),
          std::make_unique<End>(world_, back, there, first, one_host)};
}

SimNetwork::End& SimNetwork::ours(Channel& end) {
  auto* ours = dynamic_cast<End*>(&end);
  COHAUL_CHECK(ours != nullptr, "only a simulated channel can be cut or held");
  return *ours;
}

void SimNetwork::cut(Channel& end) { ours(end).cut(); }

void SimNetwork::hold(Channel& end, Time until) { ours(end).hold(until); }

bool SimNetwork::step(Time until) { return world_->step(until); }

void SimNetwork::advance_to(Time time) { world_->time = std::max(world_->time, time); }

std::uint64_t SimNetwork::trace() const { return world_->trace; }

}  // namespace cohaul::transport
