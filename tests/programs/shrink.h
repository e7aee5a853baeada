#pragma once
// A smaller program with the same fault.

#include <functional>

#include "generate.h"

namespace cohaul::programs {

struct Shrunk {
  Program program;
  int tried = 0;
};

/// Goes to smaller programs as long as `fails` holds for one of them, at most limit_s: first by what was drawn, then by leaving out parts.
Shrunk shrink(rc::Shrinkable<Program> failing, const std::function<bool(const Program&)>& fails, double limit_s);

}  // namespace cohaul::programs
