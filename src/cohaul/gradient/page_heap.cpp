#include "cohaul/gradient/page_heap.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace cohaul::gradient {

// Returns a block's bin: one for each size below 16 pages, then 8 for each doubling.
int PageHeap::bin_of(std::uint64_t pages) {
  if (pages < 16) return static_cast<int>(pages);
  const int shift = std::bit_width(pages) - 4;
  return shift * 8 + static_cast<int>(pages >> shift);
}

void PageHeap::grow(std::uint64_t more) {
  const std::uint64_t first = blocks_.size();
  blocks_.resize(first + more);
  blocks_[first].fence = true;
  insert(first, more);
}

void PageHeap::insert(std::uint64_t first, std::uint64_t pages) {
  std::uint32_t& head = heads_[static_cast<std::size_t>(bin_of(pages))];
  Page& begin = blocks_[first];
  Page& end = blocks_[first + pages - 1];
  begin.pages = end.pages = static_cast<std::uint32_t>(pages);
  begin.free = end.free = true;
  begin.before = kNone;
  begin.next = head;
  if (head != kNone) blocks_[head].before = static_cast<std::uint32_t>(first);
  head = static_cast<std::uint32_t>(first);
}

void PageHeap::remove(std::uint64_t first) {
  Page& begin = blocks_[first];
  if (begin.before != kNone) blocks_[begin.before].next = begin.next;
  else heads_[static_cast<std::size_t>(bin_of(begin.pages))] = begin.next;
  if (begin.next != kNone) blocks_[begin.next].before = begin.before;
  begin.free = blocks_[first + begin.pages - 1].free = false;
}

// Returns the smallest block that is large enough, of the first bin that has one.
std::uint32_t PageHeap::find(std::uint64_t pages) const {
  for (auto bin = static_cast<std::size_t>(bin_of(pages)); bin < heads_.size(); ++bin) {
    std::uint32_t best = kNone;
    for (std::uint32_t at = heads_[bin]; at != kNone; at = blocks_[at].next)
      if (blocks_[at].pages >= pages && (best == kNone || blocks_[at].pages < blocks_[best].pages)) best = at;
    if (best != kNone) return best;
  }
  return kNone;
}

std::optional<std::uint64_t> PageHeap::take(std::uint64_t pages) {
  const std::uint32_t first = find(pages);
  if (first == kNone) return std::nullopt;
  const std::uint64_t all = blocks_[first].pages;
  remove(first);
  if (all > pages) insert(first + pages, all - pages);
  blocks_[first].pages = blocks_[first + pages - 1].pages = static_cast<std::uint32_t>(pages);
  live_ += pages;
  live_most_ = std::max(live_most_, live_);
  touch(first, pages);
  return first;
}

void PageHeap::put_back(std::uint64_t first) {
  std::uint64_t pages = blocks_[first].pages;
  live_ -= pages;
  if (const std::uint64_t after = first + pages;
      after < blocks_.size() && blocks_[after].free && !blocks_[after].fence) {
    pages += blocks_[after].pages;
    remove(after);
  }
  if (first > 0 && blocks_[first - 1].free && !blocks_[first].fence) {
    const std::uint64_t before = blocks_[first - 1].pages;
    first -= before;
    pages += before;
    remove(first);
  }
  insert(first, pages);
}

void PageHeap::touch(std::uint64_t first, std::uint64_t pages) {
  for (std::uint64_t p = first; p < first + pages; ++p) touched_ += !std::exchange(blocks_[p].touched, true);
  const std::uint64_t wanted = live_most_ + live_most_ / 16;
  if (touched_ <= live_most_ + live_most_ / 8 + kSpare) return;
  for (std::size_t bin = heads_.size(); bin-- > 0 && touched_ > wanted;)
    for (std::uint32_t at = heads_[bin]; at != kNone && touched_ > wanted; at = blocks_[at].next) give_back(at);
}

void PageHeap::give_back_all() {
  live_most_ = live_;
  for (const std::uint32_t head : heads_)
    for (std::uint32_t at = head; at != kNone; at = blocks_[at].next) give_back(at);
}

/// Gives a free block back, in one piece from its first touched page to its last.
void PageHeap::give_back(std::uint64_t first) {
  std::uint64_t last = first + blocks_[first].pages;
  while (first < last && !blocks_[first].touched) ++first;
  while (first < last && !blocks_[last - 1].touched) --last;
  if (first == last) return;
  for (std::uint64_t p = first; p < last; ++p) touched_ -= std::exchange(blocks_[p].touched, false);
  give_back_(first, last - first);
}

}  // namespace cohaul::gradient
