#pragma once
// Finds a smaller program with the same fault.

#include <functional>

#include "generate.h"

namespace cohaul::programs {

struct Shrunk {
  Program program;
  int tried = 0;
};

/// Tries smaller programs as long as `fails` holds for one of them, at most limit_s: first those of the generator, then by removing parts.
Shrunk shrink(rc::Shrinkable<Program> failing, const std::function<bool(const Program&)>& fails, double limit_s);

}  // namespace cohaul::programs
