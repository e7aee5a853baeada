#pragma once
// The buffers of one partition. Readers pin the current version; an update writes into a buffer that nobody has pinned, so a
// version that somebody reads never changes. Without readers the current one is updated in place.

#include <memory>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/ps/memory.h"

namespace cohaul::ps {

/// One thread. Allocates only when all buffers that it has are pinned: at most one more than versions pinned at once.
class Versions {
 public:
  /// `memory` outlives this; where it has no more, the heap serves.
  Versions(Memory& memory, std::size_t bytes);

  ConstBytes current() const { return buffers_[current_]->bytes; }
  /// Keeps the current version as it is until the pin, and every copy of it, is gone.
  std::shared_ptr<const void> pin() const { return buffers_[current_]; }

  /// The buffer for the next version: the current one itself when nobody has pinned it. Becomes current by publish().
  Bytes next();
  void publish() { current_ = next_; }
  /// Of all buffers made so far.
  std::size_t memory_bytes() const { return buffers_.size() * bytes_; }

 private:
  struct Buffer {
    Bytes bytes;
  };
  std::shared_ptr<Buffer> make();

  Memory& memory_;
  HeapMemory heap_;
  std::size_t bytes_;
  std::vector<std::shared_ptr<Buffer>> buffers_;  // a use count of one: not pinned
  std::size_t current_ = 0, next_ = 0;
};

}  // namespace cohaul::ps
