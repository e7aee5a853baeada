#include "cohaul/update/exact_sum.h"

#include <cmath>

namespace cohaul::update {
namespace {

constexpr std::uint64_t kLow = 0xFFFFFFFF;

}  // namespace

void ExactSum::add(double value) {
  if (value == 0) return;
  int exponent = 0;
  const auto mantissa = static_cast<std::uint64_t>(std::ldexp(std::frexp(value, &exponent), 53));
  const int shift = exponent - 53 + kBias;  // of the mantissa's lowest bit
  // A subnormal's lowest bits are zeros, so nothing is lost where the shift would be negative: it is at least 1088 - 1126.
  const int at = shift < 0 ? 0 : shift / 32, bits = shift < 0 ? 0 : shift % 32;
  const std::uint64_t m = shift < 0 ? mantissa >> -shift : mantissa;
  const auto k = static_cast<std::size_t>(at);
  limbs_[k] += (m << bits) & kLow;
  limbs_[k + 1] += (m >> (32 - bits)) & kLow;
  limbs_[k + 2] += bits == 0 ? 0 : m >> (64 - bits);
}

void ExactSum::merge(const ExactSum& other) {
  const Limbs theirs = other.normal();
  for (std::size_t k = 0; k < limbs_.size(); ++k) limbs_[k] += theirs[k];
}

ExactSum::Limbs ExactSum::normal() const {
  Limbs out = limbs_;
  for (std::size_t k = 0; k + 1 < out.size(); ++k) {
    out[k + 1] += out[k] >> 32;
    out[k] &= kLow;
  }
  return out;
}

double ExactSum::value() const {
  const Limbs limbs = normal();
  double sum = 0;
  for (std::size_t k = 0; k < limbs.size(); ++k)
    sum += std::ldexp(static_cast<double>(limbs[k]), static_cast<int>(32 * k) - kBias);
  return sum;
}

void ExactSum::encode(Writer& out) const {
  for (std::uint64_t limb : normal()) out.put(static_cast<std::uint32_t>(limb));
}

Result<ExactSum> ExactSum::decode(Reader& in) {
  ExactSum s;
  for (std::uint64_t& limb : s.limbs_) limb = in.get<std::uint32_t>();
  if (!in.ok()) return corrupt("an exact sum that is cut short");
  return s;
}

}  // namespace cohaul::update
