#pragma once
// Labelled grey images, one byte a pixel. They stay bytes in memory; get() converts the samples of a batch to float.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "cohaul/data/data_set.h"

namespace cohaul::data {

/// A data set of images. It is a view of bytes that `owner` keeps alive, and cheap to copy.
/// Batches have input float32 [n, 1, rows, columns] with values pixel / 255, and target int64 [n].
class Images : public DataSet {
 public:
  struct Shape {
    std::int64_t count = 0, rows = 0, columns = 0;
    std::int64_t pixels() const { return rows * columns; }
  };
  /// pixels: count × rows × columns bytes; labels: count bytes.
  Images(Shape shape, std::span<const std::byte> pixels, std::span<const std::byte> labels,
         std::shared_ptr<const void> owner);

  std::int64_t size() const override { return shape_.count; }
  Batch get(std::span<const std::int64_t> indices) const override;
  const Shape& shape() const { return shape_; }

 private:
  Shape shape_;
  const std::uint8_t* pixels_;
  const std::uint8_t* labels_;
  std::shared_ptr<const void> owner_;
};

}  // namespace cohaul::data
