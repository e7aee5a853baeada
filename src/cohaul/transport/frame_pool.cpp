#include "cohaul/transport/frame_pool.h"

#include <algorithm>
#include <bit>
#include <new>

namespace cohaul::transport {
namespace {
constexpr int kSmallestClass = 10;
constexpr std::align_val_t kAlign{64};
}  // namespace

PooledBuffer::~PooledBuffer() { ::operator delete(data, kAlign); }

void PooledBuffer::release() {
  std::shared_ptr<FramePool> home = std::move(pool);  // may be the last owner
  next = home->free_[size_class];
  home->free_[size_class] = this;
}

PooledBuffer* FramePool::take(std::size_t bytes) {
  int c = std::max<int>(kSmallestClass, std::bit_width(std::max<std::size_t>(bytes, 1) - 1));
  if (c >= kClasses) return nullptr;
  PooledBuffer* b = free_[c];
  if (b != nullptr) {
    free_[c] = b->next;
  } else {
    auto* data = static_cast<std::byte*>(::operator new(std::size_t{1} << c, kAlign, std::nothrow));
    if (data == nullptr) return nullptr;
    b = new PooledBuffer;
    b->data = data;
    b->size_class = c;
  }
  b->pool = shared_from_this();
  return b;
}

FramePool::~FramePool() {
  for (PooledBuffer* b : free_) {
    while (b != nullptr) delete std::exchange(b, b->next);
  }
}

}  // namespace cohaul::transport
