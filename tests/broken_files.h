#pragma once
// Small data sets, jobs and safetensors files, whole or broken on purpose.

#include <cstdint>
#include <string>
#include <vector>

namespace cohaul::tests {

struct IdxSizes {
  std::uint32_t images = 24, labels = 24, rows = 28, columns = 28;
  std::uint8_t label_max = 9;
};

/// The bytes of an IDX file of images [n, rows, columns] and of labels [n].
std::string idx_images(std::uint32_t n, std::uint32_t rows, std::uint32_t columns);
std::string idx_labels(std::uint32_t n, std::uint8_t max);

/// The four files of a data set, its test set of the same sizes.
void write_data(const std::string& folder, const IdxSizes& sizes = {});
/// Fashion-MNIST with the first `tests` images of its test set, for runs whose evaluation is not the question.
void write_fashion_mnist(const std::string& folder, std::uint32_t tests);
void write_file(const std::string& path, const std::string& bytes);
/// job.toml and its data: softmax on so many images, 3,000 steps of Adam in 6 slices, one thread a worker. Returns the file's path.
std::string write_softmax_job(const std::string& folder, std::uint32_t images);
std::string gzipped(const std::string& bytes);
/// What is in a gzipped file, of 64 MiB at most.
std::string unpacked(const std::string& path);

/// A safetensors file with this header, followed by so many bytes.
std::string safetensors(const std::string& header, std::size_t data_bytes);

}  // namespace cohaul::tests
