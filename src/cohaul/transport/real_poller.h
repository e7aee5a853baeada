#pragma once
// The real poller, and what it asks of the things that it waits for (channels over rings and TCP, the endpoint).

#include <atomic>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "cohaul/transport/descriptor.h"
#include "cohaul/transport/poller.h"

namespace cohaul::transport {

class RealPoller;

/// All calls come from the poller's thread.
class Watched {
 public:
  virtual ~Watched() = default;
  /// Registers and unregisters its descriptors.
  virtual Status attach(RealPoller& poller) = 0;
  virtual void detach(RealPoller& poller) = 0;
  /// Notes an edge on one of its descriptors. It must neither add nor remove watches.
  virtual void on_event(int fd, std::uint32_t events) = 0;
  /// Does what can be done now (reads, writes, greets). Returns true when wait() should return for it.
  virtual bool ready() = 0;
  /// For rings. peek() is called while the poller spins, so it is cheap and makes no system call; the others are
  /// called before the poller sleeps and after.
  virtual bool is_ring() const { return false; }
  virtual bool peek() { return false; }
  virtual void before_sleep() {}
  virtual void after_sleep() {}
};

class RealPoller final : public Poller {
 public:
  static Result<std::unique_ptr<RealPoller>> make();
  ~RealPoller() override;

  Status add(Channel& channel) override;
  void remove(Channel& channel) override;
  Status wait(Time deadline) override;
  void wake() override;
  void set_spin(Duration spin) override { spin_ = spin; }
  const Clock& clock() const override { return steady_clock(); }

  Status watch(Watched& watched);
  void leave(Watched& watched);
  /// Edge triggered.
  Status watch(int fd, std::uint32_t events, Watched& owner);
  void unwatch(int fd);

 private:
  struct Watch {
    Watched* owner;
    int fd;
  };
  RealPoller() = default;
  bool any_ready();
  bool spin_until(Time end);
  /// Waits for events until `deadline`. Where that has passed, it only looks.
  Status dispatch(Time deadline);
  /// Returns true when something was ready, so that it did not sleep.
  Result<bool> sleep_until(Time deadline);

  Descriptor epoll_, bell_;
  std::atomic<bool> woken_{false};
  Duration spin_ = 0;
  std::vector<Watched*> members_;
  std::vector<Watched*> rings_;  // those of members_
  std::unordered_map<int, Watch> watches_;
  int waits_without_look_ = 0;
};

}  // namespace cohaul::transport
