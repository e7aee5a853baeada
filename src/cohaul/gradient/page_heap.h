#pragma once
// PageHeap: keeps track of which pages of a large memory are in use. It splits blocks, merges free neighbours, and says which pages can be returned
// to the system. It works with page numbers and never touches the memory itself.

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace cohaul::gradient {

/// One thread uses it. Only grow() allocates memory.
class PageHeap {
 public:
  /// Called with pages whose content is no longer needed.
  using GiveBack = std::function<void(std::uint64_t first, std::uint64_t pages)>;
  explicit PageHeap(GiveBack give_back) : give_back_(std::move(give_back)) { heads_.fill(kNone); }

  /// Adds the free pages [pages(), pages() + more). They are never merged with the pages before them.
  void grow(std::uint64_t more);
  std::uint64_t pages() const { return blocks_.size(); }
  /// Returns the first page of a block of so many pages; nothing if there is none. Free pages are given back when the pages that are in use or
  /// touched exceed the most that were ever in use at once by an eighth and kSpare.
  std::optional<std::uint64_t> take(std::uint64_t pages);
  /// Frees a block; first: what take() returned.
  void put_back(std::uint64_t first);
  /// Gives back all free pages.
  void give_back_all();

  std::uint64_t live() const { return live_; }
  /// Returns how many pages are in use, or have been since they were last given back.
  std::uint64_t touched() const { return touched_; }

 private:
  static constexpr std::uint32_t kNone = UINT32_MAX;
  static constexpr std::uint64_t kSpare = 128;
  static constexpr int kBins = 256;
  /// Kept for the first and the last page of each block.
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
