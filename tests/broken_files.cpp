#include "broken_files.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>

namespace cohaul::tests {
namespace {

std::string big_endian(std::uint32_t v) {
  std::string out;
  for (int shift : {24, 16, 8, 0}) out += static_cast<char>(v >> shift & 255);
  return out;
}

}  // namespace

std::string idx_images(std::uint32_t n, std::uint32_t rows, std::uint32_t columns) {
  std::string out = big_endian(0x803) + big_endian(n) + big_endian(rows) + big_endian(columns);
  for (std::uint32_t i = 0; i < n * rows * columns; ++i) out += static_cast<char>(i * 37 % 251);
  return out;
}

std::string idx_labels(std::uint32_t n, std::uint8_t max) {
  std::string out = big_endian(0x801) + big_endian(n);
  for (std::uint32_t i = 0; i < n; ++i) out += static_cast<char>(i % (max + 1u));
  return out;
}

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary);
  out << bytes;
  EXPECT_TRUE(out.flush()) << path;
}

void write_data(const std::string& folder, const IdxSizes& s) {
  std::filesystem::create_directories(folder);
  for (const char* set : {"train", "t10k"}) {
    write_file(folder + "/" + set + "-images-idx3-ubyte", idx_images(s.images, s.rows, s.columns));
    write_file(folder + "/" + set + "-labels-idx1-ubyte", idx_labels(s.labels, s.label_max));
  }
}

void write_fashion_mnist(const std::string& folder, std::uint32_t tests) {
  const std::string whole = "/usr/share/datasets/fashion-mnist/";
  std::filesystem::create_directories(folder);
  for (const char* name : {"images-idx3-ubyte", "labels-idx1-ubyte"}) {
    const std::string train = std::string("train-") + name + ".gz", test = std::string("t10k-") + name;
    std::filesystem::create_symlink(whole + train, folder + "/" + train);
    const bool images = name[0] == 'i';
    std::string part = unpacked(whole + test + ".gz").substr(0, images ? 16 + 784 * tests : 8 + tests);
    write_file(folder + "/" + test, part.replace(4, 4, big_endian(tests)));
  }
}

std::string write_softmax_job(const std::string& folder, std::uint32_t images) {
  constexpr const char* kJob = R"([model]
name = "softmax"
[data]
name = "idx"
path = "data"
[train]
batch = 12
steps = 3000
slices = 6
log_every = 10
[optimizer]
name = "adam"
lr = 0.01
[job]
threads = 1
)";
  write_file(folder + "/job.toml", kJob);
  write_data(folder + "/data", {.images = images, .labels = images});
  return folder + "/job.toml";
}

std::string gzipped(const std::string& bytes) {
  std::string out(compressBound(bytes.size()) + 32, '\0');
  z_stream z{};
  EXPECT_EQ(deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  z.avail_in = static_cast<uInt>(bytes.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&z, Z_FINISH), Z_STREAM_END);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

std::string unpacked(const std::string& path) {
  gzFile file = gzopen(path.c_str(), "rb");
  if (!file) throw std::runtime_error("cannot open " + path);
  std::string out(64 << 20, '\0');
  const int n = gzread(file, out.data(), static_cast<unsigned>(out.size()));
  gzclose(file);
  if (n < 0) throw std::runtime_error("cannot unpack " + path);
  out.resize(static_cast<std::size_t>(n));
  return out;
}

std::string safetensors(const std::string& header, std::size_t data_bytes) {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(header.size() >> 8 * i & 255);
  return out + header + std::string(data_bytes, '\0');
}

}  // namespace cohaul::tests
