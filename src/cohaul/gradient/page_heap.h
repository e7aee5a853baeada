#pragma once
// PageHeap: which pages of a large memory are in use. Blocks are split, merged with free neighbours and told to be given back to the system; it
// knows numbers of pages only, and touches no memory.

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace cohaul::gradient {

/// One thread. Does not allocate but to grow.
class PageHeap {
 public:
  /// Pages from `first` on whose content may go.
  using GiveBack = std::function<void(std::uint64_t first, std::uint64_t pages)>;
  explicit PageHeap(GiveBack give_back) : give_back_(std::move(give_back)) { heads_.fill(kNone); }

  /// Pages [pages(), pages() + more) are free from now on. They never make one block with those before.
  void grow(std::uint64_t more);
  std::uint64_t pages() const { return blocks_.size(); }
  /// A block of so many pages; nothing: none is free. What has been touched and is free stays below an eighth of what was most in use at once,
  /// and kSpare: the rest is given back.
  std::optional<std::uint64_t> take(std::uint64_t pages);
  /// The block that take() returned.
  void put_back(std::uint64_t first);
  /// All that is free.
  void give_back_all();

  std::uint64_t live() const { return live_; }
  /// Pages that were in use since they were given back last, or are.
  std::uint64_t touched() const { return touched_; }

 private:
  static constexpr std::uint32_t kNone = UINT32_MAX;
  static constexpr std::uint64_t kSpare = 128;
  static constexpr int kBins = 256;
  /// Of the page that begins a block, and of the one that ends it.
  struct Page {
    std::uint32_t pages = 0;  // of the block
    std::uint32_t next = kNone, before = kNone;
    bool free = false, fence = false, touched = false;  // fence: no block goes on from the page before
  };
  static int bin_of(std::uint64_t pages);
  void insert(std::uint64_t first, std::uint64_t pages);
  void remove(std::uint64_t first);
  std::uint32_t find(std::uint64_t pages) const;
  void touch(std::uint64_t first, std::uint64_t pages);
  void give_back(std::uint64_t first);

  GiveBack give_back_;
  std::vector<Page> blocks_;
  std::array<std::uint32_t, kBins> heads_;
  std::uint64_t live_ = 0, live_most_ = 0, touched_ = 0;
};

}  // namespace cohaul::gradient
