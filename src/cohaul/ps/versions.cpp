#include "cohaul/ps/versions.h"

namespace cohaul::ps {

Versions::Versions(Memory& memory, std::size_t bytes) : memory_(memory), bytes_(bytes) { buffers_.push_back(make()); }

std::shared_ptr<Versions::Buffer> Versions::make() {
  Bytes piece = memory_.allocate(bytes_);
  if (piece.size() != bytes_) piece = heap_.allocate(bytes_);
  return std::make_shared<Buffer>(Buffer{piece});
}

Bytes Versions::next() {
  auto is_free = [&](std::size_t i) { return buffers_[i].use_count() == 1; };
  next_ = current_;
  for (std::size_t i = 0; i < buffers_.size() && !is_free(next_); ++i) next_ = i;
  if (!is_free(next_)) {
    next_ = buffers_.size();
    buffers_.push_back(make());
  }
  return buffers_[next_]->bytes;
}

}  // namespace cohaul::ps
