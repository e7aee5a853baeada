#pragma once
// FramePool: buffers for received bodies and payloads, used again by size class. It lives until its owner and the last frame let go.

#include <array>
#include <cstddef>
#include <memory>

#include "cohaul/transport/channel.h"

namespace cohaul::transport {

class FramePool;

/// `data` starts on 64 bytes. Released by the frame that holds it.
struct PooledBuffer final : Frame::Hold {
  void release() override;
  std::byte* data = nullptr;
  int size_class = 0;
  PooledBuffer* next = nullptr;
  std::shared_ptr<FramePool> pool;  // while it is out
  ~PooledBuffer() override;
};

/// One thread.
class FramePool : public std::enable_shared_from_this<FramePool> {
 public:
  FramePool() = default;
  FramePool(const FramePool&) = delete;
  FramePool& operator=(const FramePool&) = delete;
  ~FramePool();
  /// Returns a buffer of at least `bytes`; null when there is no memory.
  PooledBuffer* take(std::size_t bytes);

 private:
  friend struct PooledBuffer;
  static constexpr int kClasses = 34;  // class c holds 2^c bytes
  std::array<PooledBuffer*, kClasses> free_{};
};

}  // namespace cohaul::transport
