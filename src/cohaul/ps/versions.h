#pragma once
// The buffers of one partition. Readers pin the current version, and an update writes into a buffer that is not pinned, so a version does not change
// while it is read. A current buffer that is not pinned is updated in place.

#include <memory>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/ps/memory.h"

namespace cohaul::ps {

/// One thread uses it. It allocates a buffer only if all its buffers are pinned, so it has at most one more than are pinned at once.
class Versions {
 public:
  /// `memory` must outlive it; if that has no memory left, the heap is used.
  Versions(Memory& memory, std::size_t bytes);

  ConstBytes current() const { return buffers_[current_]->bytes; }
  /// Pins the current version: it stays unchanged as long as a copy of the result exists.
  std::shared_ptr<const void> pin() const { return buffers_[current_]; }

  /// Returns the buffer for the next version: the current one itself if it is not pinned. publish() makes it the current one.
  Bytes next();
  void publish() { current_ = next_; }
  /// Returns the memory of all buffers made so far, in bytes.
  std::size_t memory_bytes() const { return buffers_.size() * bytes_; }

 private:
  struct Buffer {
    Bytes bytes;
  };
  std::shared_ptr<Buffer> make();

  Memory& memory_;
  HeapMemory heap_;
  std::size_t bytes_;
  std::vector<std::shared_ptr<Buffer>> buffers_;  // not pinned if the use count is one
  std::size_t current_ = 0, next_ = 0;
};

}  // namespace cohaul::ps
