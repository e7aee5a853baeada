#pragma once
// Writes small data sets, jobs and safetensors files for tests, valid ones and ones broken on purpose.

#include <cstdint>
#include <string>
#include <vector>

namespace cohaul::tests {

struct IdxSizes {
  std::uint32_t images = 24, labels = 24, rows = 28, columns = 28;
  std::uint8_t label_max = 9;
};

/// Return the bytes of an IDX file of images [n, rows, columns] and of labels [n].
std::string idx_images(std::uint32_t n, std::uint32_t rows, std::uint32_t columns);
std::string idx_labels(std::uint32_t n, std::uint8_t max);

/// Writes the four files of a data set; the test set has the same sizes as the training set.
void write_data(const std::string& folder, const IdxSizes& sizes = {});
/// Writes Fashion-MNIST with only the first `tests` images of its test set, for runs in which the evaluation does not matter.
void write_fashion_mnist(const std::string& folder, std::uint32_t tests);
void write_file(const std::string& path, const std::string& bytes);
/// Writes job.toml and its data: softmax on so many images, 3,000 steps of Adam in 6 slices, one thread a worker. Returns the file's path.
std::string write_softmax_job(const std::string& folder, std::uint32_t images);
std::string gzipped(const std::string& bytes);
/// Returns the content of a gzipped file, at most 64 MiB.
std::string unpacked(const std::string& path);

/// Returns the bytes of a safetensors file with this header and `data_bytes` bytes of data.
std::string safetensors(const std::string& header, std::size_t data_bytes);

}  // namespace cohaul::tests
