#include "softmax_reference.h"

#include <cmath>

#include "broken_files.h"

namespace cohaul::tests {

Images read_images(const std::string& images_gz, const std::string& labels_gz) {
  const std::string images = unpacked(images_gz), labels = unpacked(labels_gz);
  Images out;
  out.width = 28 * 28;
  for (unsigned char pixel : images.substr(16)) out.pixels.push_back(pixel / 255.0);
  for (unsigned char label : labels.substr(8)) out.labels.push_back(label);
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
