#pragma once
// Inside the real poller: what it asks of the things that it waits for (channels over rings and TCP, the endpoint).

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
  /// An edge on one of its descriptors. Only notes it: neither adds nor removes watches.
  virtual void on_event(int fd, std::uint32_t events) = 0;
  /// Does what can be done now (reads, writes, greets); true when wait() should return for it.
  virtual bool ready() = 0;
  /// A ring: looked at while spinning, cheaply and without a system call; told before the poller sleeps and after.
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

  Status join(Watched& watched);
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
  /// Waits for events up to `deadline`; one already passed only looks.
  Status dispatch(Time deadline);
  /// True: something was ready, and nobody slept.
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
