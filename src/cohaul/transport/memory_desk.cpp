#include "cohaul/transport/memory_desk.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <vector>

#include "cohaul/transport/socket.h"

namespace cohaul::transport {
namespace {

// How long a process that connects and asks nothing keeps the others waiting. An honest one asks at once.
constexpr Duration kPatience = 200 * kMillisecond;

}  // namespace

Result<std::unique_ptr<MemoryDesk>> MemoryDesk::open(const std::string& name, Offers offers) {
  COHAUL_ASSIGN(Descriptor listener, unix_listen(name));
  return std::unique_ptr<MemoryDesk>(new MemoryDesk(name, std::move(listener), std::move(offers)));
}

MemoryDesk::MemoryDesk(std::string name, Descriptor listener, Offers offers)
    : name_(std::move(name)), listener_(std::move(listener)), offers_(std::move(offers)), thread_([this] { run(); }) {}

MemoryDesk::~MemoryDesk() {
  stopping_ = true;
  ::shutdown(listener_.get(), SHUT_RDWR);  // ends the thread's wait
  thread_.join();
}

void MemoryDesk::offer(std::uint64_t ticket, Descriptor descriptor) {
  const MutexLock lock(mutex_);
  offers_[ticket] = std::move(descriptor);
}

void MemoryDesk::withdraw(std::uint64_t ticket) {
  const MutexLock lock(mutex_);
  offers_.erase(ticket);
}

void MemoryDesk::run() {
  for (;;) {
    wait_for(listener_.get(), POLLIN, kForever);
    if (stopping_) return;
    int error = 0;
    const Descriptor client = accept_from(listener_.get(), error);
    if (client.valid()) answer(client);
    else if (error != EAGAIN && error != EINTR && error != ECONNABORTED)
      wait_for(-1, 0, steady_clock().now() + kPatience);  // no descriptors left: they may come back
  }
}

void MemoryDesk::answer(const Descriptor& client) {
  std::uint64_t ticket = 0;
  if (!wait_for(client.get(), POLLIN, steady_clock().now() + kPatience)) return;
  if (::recv(client.get(), &ticket, sizeof ticket, 0) != static_cast<ssize_t>(sizeof ticket)) return;
  const MutexLock lock(mutex_);
  const auto offer = offers_.find(ticket);
  if (offer == offers_.end()) return;
  const int descriptor = offer->second.get();
  (void)send_with_descriptors(client.get(), as_bytes(std::span(&ticket, 1)), {&descriptor, 1});
}

Result<Descriptor> ask_desk(const std::string& name, std::uint64_t ticket, Time deadline) {
  COHAUL_ASSIGN(const Descriptor socket, unix_connect(name, deadline));
  if (!socket.valid()) return peer_lost("nobody on this host has it");
  const auto sent = as_bytes(std::span(&ticket, 1));
  std::vector<Descriptor> got;
  std::uint64_t answer = 0;
  if (send_with_descriptors(socket.get(), sent, {}) != static_cast<long>(sizeof ticket))
    return peer_lost("the process that has it takes no question");
  if (!wait_for(socket.get(), POLLIN, deadline)) return peer_lost("the process that has it does not answer");
  const long n =
      receive_with_descriptors(socket.get(), Bytes(reinterpret_cast<std::byte*>(&answer), sizeof answer), got);
  if (n != static_cast<long>(sizeof answer) || got.size() != 1 || answer != ticket)
    return peer_lost("the process that had it has it no more");
  return std::move(got.front());
}

}  // namespace cohaul::transport
