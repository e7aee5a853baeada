#pragma once
// The element types of parameters and gradients below LibTorch.

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace cohaul {

enum class DType : std::uint8_t { float32 = 0, float64 = 1 };

constexpr std::size_t size_of(DType t) { return t == DType::float32 ? 4 : 8; }
constexpr std::string_view name(DType t) { return t == DType::float32 ? "float32" : "float64"; }

template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::float32;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::float64;
}

}  // namespace cohaul
