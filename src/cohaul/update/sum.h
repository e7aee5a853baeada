#pragma once
// The one order in which contributions are summed: neighbours are paired level by level from the first, an odd one
// moves up unchanged. ((c0+c1)+(c2+c3))+c4. Summing a complete subtree beforehand changes no bit.

#include <cstddef>
#include <span>

namespace cohaul::update {

/// out[i] = the tree sum of terms[k][i], i < n. terms.size() ≥ 1. `out` may be one of the terms. Works block by block
/// in a fixed scratch; does not allocate for up to 2^24 terms.
void tree_sum(std::span<const float* const> terms, float* out, std::size_t n);
void tree_sum(std::span<const double* const> terms, double* out, std::size_t n);

/// out[i] = a[i] + b[i]; out may be a or b.
void add(const float* a, const float* b, float* out, std::size_t n);
void add(const double* a, const double* b, double* out, std::size_t n);

/// a[i] += b[i]
void add(float* a, const float* b, std::size_t n);
void add(double* a, const double* b, std::size_t n);

}  // namespace cohaul::update
