#pragma once
// What is computed on blocks beside the rule, with the same bits on every instruction set.

#include <cstddef>

namespace cohaul::update {

/// Returns Σ x[i]² in double: element i goes to lane i mod 16, and lanes are summed as a tree. n <= kBlockElements,
/// so that a block has one result. Not finite where an element is not, or a square overflows.
double squares(const float* x, std::size_t n);
double squares(const double* x, std::size_t n);

/// out[i] = clamp(x[i] · factor, ±limit); limit 0: not clamped. NaN stays NaN. `out` may be x.
void scale(const float* x, float* out, std::size_t n, double factor, double limit);
void scale(const double* x, double* out, std::size_t n, double factor, double limit);

/// average[i] += weight · (x[i] − average[i]), which stays where both are equal. Any n.
void move_average(const float* x, float* average, std::size_t n, double weight);
void move_average(const double* x, double* average, std::size_t n, double weight);

}  // namespace cohaul::update
