#include "cohaul/gradient/arena_allocator.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/alignment.h>
#include <c10/core/impl/alloc_cpu.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "cohaul/base/mutex.h"
#include "cohaul/gradient/page_heap.h"

namespace cohaul::gradient {
namespace {

constexpr std::size_t kPage = 64 << 10;  // the arena's unit, and the smallest block that it gives
constexpr std::size_t kFirstWindow = 64 << 20;
constexpr std::uint64_t kArenaBytes = std::uint64_t{1}
                                      << 42;  // more than a machine has: windows are mapped as blocks need them

class ArenaAllocator;
std::atomic<ArenaAllocator*> installed = nullptr;

class ArenaAllocator final : public c10::Allocator {
 public:
  explicit ArenaAllocator(transport::Arena arena) : arena_(std::move(arena)), windows_(*arena_.windows()) {}

  c10::DataPtr allocate(std::size_t n) override {
    // LibTorch passes its allocator between threads without a fence, so this acquire makes the constructor's writes visible.
    void* p = n < kPage ? nullptr : installed.load(std::memory_order_acquire)->take((n + kPage - 1) / kPage);
    if (p == nullptr) p = c10::alloc_cpu(n);
    // The block is its own context, because oneDNN allocates raw pointers and frees them through raw_deleter().
    return {p, p, &give_back, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* to, const void* from, std::size_t n) const override { std::memcpy(to, from, n); }

  const transport::Arena& arena() const { return arena_; }
  ArenaUse use() {
    const MutexLock lock(mutex_);
    return {heap_.live() * kPage, heap_.touched() * kPage};
  }
  void give_back_all() {
    const MutexLock lock(mutex_);
    heap_.give_back_all();
  }

 private:
  static void give_back(void* p);

  /// Returns a block; null if none fits and there is no address space left.
  void* take(std::size_t pages) {
    const MutexLock lock(mutex_);
    auto first = heap_.take(pages);
    while (!first && grow()) first = heap_.take(pages);
    if (!first) return nullptr;
    auto place = windows_.at(*first * kPage, pages * kPage);
    if (place.ok()) return place->data();
    heap_.put_back(*first);
    return nullptr;
  }
  /// Adds one window, which is not mapped yet.
  bool grow() COHAUL_REQUIRES(mutex_) {
    const std::uint64_t begin = heap_.pages() * kPage;
    if (begin >= windows_.size() / kPage * kPage) return false;
    heap_.grow((windows_.end_of(begin) - begin) / kPage);
    return true;
  }
  bool put_back(void* p) {
    const auto offset = windows_.offset_of({static_cast<const std::byte*>(p), 1});
    if (!offset) return false;
    const MutexLock lock(mutex_);
    heap_.put_back(*offset / kPage);
    return true;
  }
  void return_pages(std::uint64_t first, std::uint64_t pages) {
    auto place = windows_.at(first * kPage, pages * kPage);
    if (place.ok()) ::madvise(place->data(), place->size(), MADV_REMOVE);
  }

  transport::Arena arena_;
  transport::Windows& windows_;
  Mutex mutex_;
  PageHeap heap_ COHAUL_GUARDED_BY(mutex_){
      [this](std::uint64_t first, std::uint64_t pages) { return_pages(first, pages); }};
};

// LibTorch has one allocator per process, and its deleters are plain functions, so this pointer is process-wide too.

void ArenaAllocator::give_back(void* p) {
  if (p != nullptr && !installed.load(std::memory_order_acquire)->put_back(p)) c10::free_cpu(p);
}

}  // namespace

Result<const transport::Arena*> install_arena_allocator() {
  static Mutex once;
  const MutexLock lock(once);
  if (installed.load() == nullptr) {
    COHAUL_ASSIGN(transport::Arena arena,
                  transport::Arena::create_in_windows("cohaul tensors", kArenaBytes, kFirstWindow));
    installed = new ArenaAllocator(std::move(arena));
    c10::SetCPUAllocator(installed.load(), 100);
  }
  return &installed.load()->arena();
}

ArenaUse arena_use() {
  ArenaAllocator* allocator = installed;
  return allocator ? allocator->use() : ArenaUse{};
}

void give_back_free_memory() {
  if (ArenaAllocator* allocator = installed) allocator->give_back_all();
}

}  // namespace cohaul::gradient
