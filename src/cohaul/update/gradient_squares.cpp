#include "cohaul/update/gradient_squares.h"

#include <cmath>

namespace cohaul::update {

std::vector<double> GradientSquares::norms(double samples) const {
  std::vector<double> out(layout_.parameters().size(), kNoGradient);
  for (std::size_t s = 0; s < squares_.size(); ++s) {
    if (squares_[s] == kNoGradient) continue;
    double& sum = out[static_cast<std::size_t>(layout_.segments()[s].parameter)];
    sum = sum == kNoGradient ? squares_[s] : sum + squares_[s];
  }
  const double scale = samples > 0 ? 1 / samples : 1;
  for (double& v : out)
    if (v != kNoGradient) v = std::sqrt(v) * scale;
  return out;
}

}  // namespace cohaul::update
