#pragma once
// Where a server's partitions live. A real server hands out pieces of an arena that it lends to its workers; the simulator
// and tests use the heap.

#include <cstddef>
#include <memory>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"

namespace cohaul::ps {

class Memory {
 public:
  virtual ~Memory() = default;
  /// Says once, before the first allocate(), how much may be asked for in all (address space: only what is touched counts).
  virtual Status reserve(std::size_t bytes) = 0;
  /// `bytes` bytes that start on 64, live as long as this object and are never given back; empty: no more here.
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
