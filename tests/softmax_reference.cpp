#include "softmax_reference.h"

#include <zlib.h>

#include <cmath>
#include <stdexcept>

namespace cohaul::tests {
namespace {

std::vector<unsigned char> gunzip(const std::string& path) {
  gzFile f = gzopen(path.c_str(), "rb");
  if (!f) throw std::runtime_error("cannot open " + path);
  std::vector<unsigned char> out(64 << 20);
  int n = gzread(f, out.data(), static_cast<unsigned>(out.size()));
  gzclose(f);
  out.resize(static_cast<std::size_t>(n));
  return out;
}

}  // namespace

Images read_images(const std::string& images_gz, const std::string& labels_gz) {
  auto pixels = gunzip(images_gz), labels = gunzip(labels_gz);
  Images out;
  out.width = 28 * 28;
  out.pixels.assign(pixels.begin() + 16, pixels.end());
  for (double& p : out.pixels) p /= 255;
  out.labels.assign(labels.begin() + 8, labels.end());
  return out;
}

void train(SoftmaxModel& m, const Images& data, int batch, int steps, double lr) {
  int classes = static_cast<int>(m.bias.size()), n = static_cast<int>(data.labels.size()), width = data.width;
  std::vector<double> p(m.bias.size());
  for (int s = 0; s < steps; ++s) {
    std::vector<double> gw(m.weight.size()), gb(m.bias.size());
    for (int i = 0; i < batch; ++i) {
      auto sample = static_cast<std::size_t>((static_cast<long>(s) * batch + i) % n);
      const double* x = &data.pixels[sample * static_cast<std::size_t>(width)];
      double largest = -1e300, sum = 0;
      for (int c = 0; c < classes; ++c) {
        p[c] = m.bias[c];
        for (int k = 0; k < width; ++k) p[c] += m.weight[c * width + k] * x[k];
        largest = std::max(largest, p[c]);
      }
      for (double& v : p) sum += v = std::exp(v - largest);
      for (int c = 0; c < classes; ++c) {
        double d = (p[c] / sum - (c == data.labels[sample])) / batch;
        gb[c] += d;
        for (int k = 0; k < width; ++k) gw[c * width + k] += d * x[k];
      }
    }
    for (std::size_t k = 0; k < gw.size(); ++k) m.weight[k] -= lr * gw[k];
    for (std::size_t k = 0; k < gb.size(); ++k) m.bias[k] -= lr * gb[k];
  }
}

}  // namespace cohaul::tests
