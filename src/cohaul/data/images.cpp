#include "cohaul/data/images.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <stdexcept>
#include <string>

#include "cohaul/base/check.h"
#include "cohaul/data/pixels.h"

namespace cohaul::data {
namespace {

// The images of a batch are scattered in memory, so this many are prefetched ahead of the one that is read.
constexpr std::size_t kImagesAhead = 4;

}  // namespace

Images::Images(Shape shape, std::span<const std::byte> pixels, std::span<const std::byte> labels,
               std::shared_ptr<const void> owner)
    : shape_(shape),
      pixels_(reinterpret_cast<const std::uint8_t*>(pixels.data())),
      labels_(reinterpret_cast<const std::uint8_t*>(labels.data())),
      owner_(std::move(owner)) {
  COHAUL_CHECK(pixels.size() == static_cast<std::size_t>(shape.count * shape.pixels()), "pixels of every image");
  COHAUL_CHECK(labels.size() == static_cast<std::size_t>(shape.count), "a label for every image");
}

Batch Images::get(std::span<const std::int64_t> indices) const {
  auto n = static_cast<std::int64_t>(indices.size());
  for (std::int64_t sample : indices)
    if (sample < 0 || sample >= shape_.count)
      throw std::out_of_range("sample " + std::to_string(sample) + " of a data set of " + std::to_string(shape_.count));
  auto image = [&](std::size_t i) {
    return std::span(pixels_ + indices[i] * shape_.pixels(), static_cast<std::size_t>(shape_.pixels()));
  };
  Batch batch{at::empty({n, 1, shape_.rows, shape_.columns}, at::kFloat), at::empty({n}, at::kLong)};
  float* input = batch.input.mutable_data_ptr<float>();
  std::int64_t* target = batch.target.mutable_data_ptr<std::int64_t>();
  for (std::size_t i = 0; i < std::min(kImagesAhead, indices.size()); ++i) prefetch_pixels(image(i));
  for (std::size_t i = 0; i < indices.size(); ++i, input += shape_.pixels()) {
    if (i + kImagesAhead < indices.size()) prefetch_pixels(image(i + kImagesAhead));
    scale_pixels(image(i), input);
    target[i] = labels_[indices[i]];
  }
  return batch;
}

}  // namespace cohaul::data
