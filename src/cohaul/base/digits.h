#pragma once

#include <charconv>
#include <string>

namespace cohaul {

/// The shortest text that reads back as the same number.
inline std::string digits_of(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

}  // namespace cohaul
