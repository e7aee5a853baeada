#include "cohaul/observe/gradient_lines.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "cohaul/observe/format.h"

namespace cohaul::observe {
namespace {

constexpr int kCells = 12;
constexpr double kVanishing = 1e-4;  // of the largest norm

/// "layer1.0.conv1" of "layer1.0.conv1.weight"; a parameter of the model itself is a layer of its own.
std::string layer_of(const std::string& parameter) {
  const std::size_t point = parameter.rfind('.');
  return point == std::string::npos ? parameter : parameter.substr(0, point);
}

/// Returns the norms by layer, in the order of the layers' first parameters.
Figures layers_of(const Figures& parameters) {
  Figures out;
  std::map<std::string, std::size_t> index;
  for (const auto& [name, norm] : parameters) {
    const auto [found, is_new] = index.emplace(layer_of(name), out.size());
    if (is_new) out.emplace_back(found->first, 0);
    double& all = out[found->second].second;
    all = std::hypot(all, norm);
  }
  return out;
}

/// Returns a bar drawn in eighths of a cell.
std::string bar(double fraction) {
  constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const double decades = fraction > 0 ? kCells + std::log10(fraction) : 0;
  const int eighths = std::clamp(static_cast<int>(std::lround(decades * 8)), 0, kCells * 8);
  std::string out;
  for (int cell = 0; cell < eighths / 8; ++cell) out += "█";
  return out + kEighths[eighths % 8];
}

/// Returns the remark that follows a layer's norm.
std::string judgement(double norm, double largest) {
  if (!std::isfinite(norm)) return "not finite";
  if (norm == 0) return "zero";
  const std::string drawn = bar(norm / largest);
  if (norm >= kVanishing * largest) return drawn;
  return drawn + (drawn.empty() ? "" : " ") + "vanishing: " + significant(norm / largest, 1) + " of the largest";
}

}  // namespace

std::vector<std::string> gradient_lines(const Event& event, bool styled) {
  const Figures layers = layers_of(gradient_norms(event));
  std::size_t width = 0;
  double largest = 0;
  for (const auto& [name, norm] : layers) {
    width = std::max(width, name.size());
    if (std::isfinite(norm)) largest = std::max(largest, norm);
  }
  std::vector<std::string> out{"gradients of step " +
                               with_commas(static_cast<std::int64_t>(event.number("step").value_or(0)))};
  for (const auto& [name, norm] : layers) {
    std::string figure = std::isfinite(norm) ? significant(norm, 3) : std::isnan(norm) ? "nan" : "inf";
    figure.resize(std::max<std::size_t>(figure.size(), 8), ' ');
    const std::string line =
        "  " + name + std::string(width - name.size(), ' ') + "  " + figure + "  " + judgement(norm, largest);
    const bool marked = !(norm > 0 && norm >= kVanishing * largest) || !std::isfinite(norm);
    out.push_back(styled && marked ? "\x1b[31m" + line + "\x1b[0m" : line);
  }
  return out;
}

}  // namespace cohaul::observe
