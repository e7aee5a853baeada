#pragma once
// Mutex, MutexLock and CondVar: the standard library's, with attributes by which clang checks that what a mutex guards is used only while the
// mutex is locked (-Wthread-safety). ./dev ci runs this check; GCC ignores the attributes.

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "cohaul/base/clock.h"

#ifdef __clang__
#define COHAUL_ATTRIBUTE(x) __attribute__((x))
#else
#define COHAUL_ATTRIBUTE(x)
#endif

/// Of a data member: it is read and written only while the mutex is locked.
#define COHAUL_GUARDED_BY(mutex) COHAUL_ATTRIBUTE(guarded_by(mutex))
/// Of a function: the caller has locked the mutex.
#define COHAUL_REQUIRES(...) COHAUL_ATTRIBUTE(requires_capability(__VA_ARGS__))

namespace cohaul {

/// A MutexLock locks it.
class COHAUL_ATTRIBUTE(capability("mutex")) Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;

 private:
  friend class MutexLock;
  std::mutex mutex_;
};

/// Holds a mutex from its construction to its destruction.
class COHAUL_ATTRIBUTE(scoped_lockable) MutexLock {
 public:
  [[nodiscard]] explicit MutexLock(Mutex& mutex) COHAUL_ATTRIBUTE(acquire_capability(mutex)) : lock_(mutex.mutex_) {}
  ~MutexLock() COHAUL_ATTRIBUTE(release_capability()) {}
  MutexLock(const MutexLock&) = delete;

 private:
  friend class CondVar;
  std::unique_lock<std::mutex> lock_;
};

/// Any thread. Waits may end for no reason, so call them in a loop that looks at the condition.
class CondVar {
 public:
  void notify_all() { changed_.notify_all(); }
  /// Unlocks the mutex, blocks until notify_all(), and locks it again.
  void wait(MutexLock& lock) { changed_.wait(lock.lock_); }
  /// As wait(), at most until `deadline` on steady_clock(). False, without a wait: the deadline has passed.
  bool wait_until(MutexLock& lock, Time deadline) {
    constexpr Duration kLongest = 86'400 * kSecond;  // so that no sum of times overflows
    const Time now = steady_clock().now();
    if (deadline <= now) return false;
    changed_.wait_for(lock.lock_, std::chrono::nanoseconds(std::min(deadline - now, kLongest)));
    return true;
  }

 private:
  std::condition_variable changed_;
};

}  // namespace cohaul
