#pragma once

#include <charconv>
#include <cstdint>
#include <string>

namespace cohaul {

/// The shortest text that reads back as the same number.
inline std::string digits_of(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

/// With so many places after the point (at most 60), as printf's %.*f.
inline std::string fixed_digits(double value, int decimals) {
  char text[400];
  return {text, std::to_chars(text, text + sizeof text, value, std::chars_format::fixed, decimals).ptr};
}

/// With at most so many significant digits (at most 60), no zeros at the end, as printf's %.*g.
inline std::string significant_digits(double value, int digits) {
  char text[80];
  return {text, std::to_chars(text, text + sizeof text, value, std::chars_format::general, digits).ptr};
}

/// Returns 16 hexadecimal digits.
inline std::string hex_of(std::uint64_t value) {
  std::string out(16, '0');
  for (std::size_t i = out.size(); i-- > 0; value >>= 4) out[i] = "0123456789abcdef"[value & 15];
  return out;
}

}  // namespace cohaul
