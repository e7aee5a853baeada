#pragma once
// Softmax regression in plain double precision, without any code of Cohaul or LibTorch.

#include <string>
#include <vector>

namespace cohaul::tests {

struct SoftmaxModel {
  std::vector<double> weight;  // [classes][pixels]
  std::vector<double> bias;    // [classes]
};

/// Images, row by row with values in [0, 1], and labels.
struct Images {
  std::vector<double> pixels;
  std::vector<int> labels;
  int width = 0;  // pixels of one image
};
Images read_images(const std::string& images_gz, const std::string& labels_gz);

/// Does `steps` steps of plain SGD; step s uses the samples (s·batch + i) mod n.
void train(SoftmaxModel& model, const Images& data, int batch, int steps, double lr);

}  // namespace cohaul::tests
