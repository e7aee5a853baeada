#include "cohaul/sim/network.h"

#include <algorithm>

namespace cohaul::sim {
namespace {

/// What a frame in flight, and then its receiver, holds.
struct Packet final : transport::Frame::Hold {
  std::vector<std::byte> body;
  std::vector<std::byte> payload;
  std::shared_ptr<const void> keep;
  void release() override { delete this; }
};

transport::Frame pack(const transport::Message& message, bool by_address) {
  auto* packet = new Packet;
  transport::Frame frame(packet);
  packet->body.assign(message.body.begin(), message.body.end());
  packet->keep = by_address ? message.keep : nullptr;
  if (!by_address) packet->payload.assign(message.payload.begin(), message.payload.end());
  frame.kind = message.kind;
  frame.clock = message.clock;
  frame.key = message.key;
  frame.body = packet->body;
  frame.payload = by_address ? message.payload : ConstBytes(packet->payload);
  frame.by_address = by_address;
  return frame;
}

}  // namespace

Network::Network(const Options& options, Deliver deliver)
    : options_(options), deliver_(std::move(deliver)), random_(options.seed, 1) {}

void Network::send(Node from, Node to, const transport::Message& message, int copies) {
  Connection& connection = connections_[{from, to}];
  if (!connection.open) return;
  for (int i = 0; i < copies; ++i) {
    Duration delay = 1 + static_cast<Duration>(random_.below(options_.delay_max));
    connection.last = std::max(connection.last + 1, now_ + delay);
    auto frame = std::make_shared<transport::Frame>(pack(message, options_.by_address));
    ++frames_;
    events_.push({connection.last, order_++, [this, from, to, frame] {
                    const Connection& c = connections_[{from, to}];
                    if (c.open || now_ <= c.last) deliver_(from, to, std::move(*frame));
                  }});
  }
}

void Network::after(Duration delay, std::function<void()> what) {
  events_.push({now_ + std::max<Duration>(delay, 1), order_++, std::move(what)});
}

void Network::kill(Node node) {
  for (auto& [ends, connection] : connections_) {
    if (ends.first != node && ends.second != node) continue;
    connection.open = false;
    Duration left = std::max<Duration>(connection.last - now_, 0);
    connection.last = ends.second == node ? now_ - 1 : now_ + static_cast<Duration>(random_.below(left + 1));
  }
}

bool Network::step() {
  if (events_.empty()) return false;
  Event event = events_.top();
  events_.pop();
  now_ = event.at;
  event.what();
  return true;
}

}  // namespace cohaul::sim
