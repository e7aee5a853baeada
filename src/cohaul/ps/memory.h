#pragma once
// Memory of a server's partitions. A real server uses an arena that it lends to its workers; the simulator and tests use the heap.

#include <cstddef>
#include <memory>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"

namespace cohaul::ps {

class Memory {
 public:
  virtual ~Memory() = default;
  /// Announces how much will be allocated in all. Called once, before the first allocate(). It reserves addresses; memory is used only where it is
  /// touched.
  virtual Status reserve(std::size_t bytes) = 0;
  /// Returns `bytes` bytes, aligned to 64, that stay valid as long as this object; empty if none are left. They cannot be freed.
  virtual Bytes allocate(std::size_t bytes) = 0;
};

class HeapMemory final : public Memory {
 public:
  Status reserve(std::size_t) override { return {}; }
  Bytes allocate(std::size_t bytes) override {
    struct alignas(64) Line {
      std::byte bytes[64];
    };
    std::size_t lines = (bytes + sizeof(Line) - 1) / sizeof(Line);
    pieces_.emplace_back(new Line[lines](), [](void* p) { delete[] static_cast<Line*>(p); });
    return {static_cast<std::byte*>(pieces_.back().get()), bytes};
  }

 private:
  std::vector<std::shared_ptr<void>> pieces_;
};

}  // namespace cohaul::ps
