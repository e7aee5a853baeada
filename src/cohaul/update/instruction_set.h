#pragma once
// The instruction set that this folder's loops run with.

#include <string>

namespace cohaul::update {

/// Returns Highway's name of it, such as "AVX3", "AVX2" or "NEON".
std::string instruction_set();

}  // namespace cohaul::update
