#include "cohaul/gradient/arena_allocator.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/alignment.h>
#include <c10/core/impl/alloc_cpu.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <mutex>
#include <vector>

namespace cohaul::gradient {
namespace {

constexpr std::size_t kPage = 64 << 10;  // the unit of the arena, and the smallest block that comes from it
constexpr int kClassBits = 3;            // 8 classes for each doubling: at most 1/8 is wasted

/// Size class of `pages` and how many pages its blocks have.
struct SizeClass {
  std::uint8_t index;
  std::size_t pages;
};

SizeClass class_of(std::size_t pages) {
  constexpr std::size_t kExact = 1 << kClassBits;
  if (pages <= kExact) return {static_cast<std::uint8_t>(pages), pages};
  int shift = std::bit_width(pages - 1) - 1 - kClassBits;
  std::size_t steps = ((pages - 1) >> shift) + 1;  // in (kExact, 2 kExact]
  return {static_cast<std::uint8_t>(static_cast<std::size_t>(shift) * kExact + steps), steps << shift};
}

class ArenaAllocator;
std::atomic<ArenaAllocator*> installed = nullptr;

class ArenaAllocator final : public c10::Allocator {
 public:
  explicit ArenaAllocator(transport::Arena arena)
      : arena_(std::move(arena)), classes_(arena_.bytes().size() / kPage), free_(256) {
    for (auto& list : free_) list.reserve(32);
  }

  c10::DataPtr allocate(std::size_t n) override {
    // LibTorch hands its allocator from thread to thread without a fence: the one here makes what the constructor wrote visible.
    void* p = n < kPage ? nullptr : installed.load(std::memory_order_acquire)->take((n + kPage - 1) / kPage);
    if (p == nullptr) p = c10::alloc_cpu(n);
    // The block is its own context: oneDNN allocates raw pointers and gives them back through raw_deleter().
    return {p, p, &give_back, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* to, const void* from, std::size_t n) const override { std::memcpy(to, from, n); }

  const transport::Arena& arena() const { return arena_; }
  std::size_t used() {
    std::lock_guard lock(mutex_);
    return next_ * kPage;
  }

 private:
  static void give_back(void* p);

  void* take(std::size_t pages) {
    SizeClass c = class_of(pages);
    std::lock_guard lock(mutex_);
    auto& list = free_[c.index];
    if (!list.empty()) {
      void* p = list.back();
      list.pop_back();
      return p;
    }
    if (next_ + c.pages > classes_.size()) return nullptr;
    void* p = arena_.bytes().data() + next_ * kPage;
    classes_[next_] = c.index;
    next_ += c.pages;
    return p;
  }
  bool put_back(void* p) {
    auto offset = static_cast<std::size_t>(static_cast<std::byte*>(p) - arena_.bytes().data());
    if (static_cast<std::byte*>(p) < arena_.bytes().data() || offset >= arena_.bytes().size()) return false;
    std::lock_guard lock(mutex_);
    free_[classes_[offset / kPage]].push_back(p);
    return true;
  }

  transport::Arena arena_;
  std::mutex mutex_;
  std::vector<std::uint8_t> classes_;     // by first page of a block
  std::vector<std::vector<void*>> free_;  // by class
  std::size_t next_ = 0;                  // first page never used
};

// LibTorch's allocator is one a process, and its deleters are plain functions: so this is a process-wide pointer too.

void ArenaAllocator::give_back(void* p) {
  if (p != nullptr && !installed.load(std::memory_order_acquire)->put_back(p)) c10::free_cpu(p);
}

}  // namespace

Result<const transport::Arena*> install_arena_allocator() {
  static std::mutex once;
  std::lock_guard lock(once);
  if (installed.load() == nullptr) {
    auto memory = static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    COHAUL_ASSIGN(transport::Arena arena, transport::Arena::create("cohaul tensors", memory / kPage * kPage));
    installed = new ArenaAllocator(std::move(arena));
    c10::SetCPUAllocator(installed.load(), 100);
  }
  return &installed.load()->arena();
}

std::size_t arena_bytes_used() {
  ArenaAllocator* allocator = installed;
  return allocator ? allocator->used() : 0;
}

}  // namespace cohaul::gradient
