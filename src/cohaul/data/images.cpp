#include "cohaul/data/images.h"

#include <ATen/ops/empty.h>

#include <stdexcept>
#include <string>

#include "cohaul/base/check.h"

namespace cohaul::data {
namespace {

// x / 255 without dividing: kHead has 16 significant bits, so x · kHead is exact, and the sum rounds as the quotient does (a test
// compares all 256 values).
constexpr float kHead = 0x1.010p-8f;
constexpr float kTail = static_cast<float>(1.0 / 255.0 - kHead);

void scale(const std::uint8_t* __restrict in, float* __restrict out, std::int64_t n) {
  constexpr std::int64_t kChunk = 16;
  std::int64_t i = 0;
  for (; i + kChunk <= n; i += kChunk) {
    for (std::int64_t k = 0; k < kChunk; ++k) {
      float x = in[i + k];
      out[i + k] = x * kHead + x * kTail;
    }
  }
  for (; i < n; ++i) out[i] = static_cast<float>(in[i]) * kHead + static_cast<float>(in[i]) * kTail;
}

}  // namespace

Images::Images(Shape shape, ConstBytes pixels, ConstBytes labels, std::shared_ptr<const void> owner)
    : shape_(shape),
      pixels_(reinterpret_cast<const std::uint8_t*>(pixels.data())),
      labels_(reinterpret_cast<const std::uint8_t*>(labels.data())),
      owner_(std::move(owner)) {
  COHAUL_CHECK(pixels.size() == static_cast<std::size_t>(shape.count * shape.pixels()), "pixels of every image");
  COHAUL_CHECK(labels.size() == static_cast<std::size_t>(shape.count), "a label for every image");
}

Batch Images::get(std::span<const std::int64_t> indices) const {
  auto n = static_cast<std::int64_t>(indices.size());
  Batch batch{at::empty({n, 1, shape_.rows, shape_.columns}, at::kFloat), at::empty({n}, at::kLong)};
  float* input = batch.input.mutable_data_ptr<float>();
  std::int64_t* target = batch.target.mutable_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < n; ++i) {
    std::int64_t sample = indices[static_cast<std::size_t>(i)];
    if (sample < 0 || sample >= shape_.count) {
      throw std::out_of_range("sample " + std::to_string(sample) + " of a data set of " + std::to_string(shape_.count));
    }
    scale(pixels_ + sample * shape_.pixels(), input + i * shape_.pixels(), shape_.pixels());
    target[i] = labels_[sample];
  }
  return batch;
}

}  // namespace cohaul::data
