#include "cohaul/update/sum.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cohaul/update/sum.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cohaul/update/elementwise-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cohaul::update::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
struct Add {
  const T* a;
  const T* b;
  T* out;
  template <class D>
  HWY_INLINE void operator()(D d, std::size_t i) const {
    hn::StoreU(hn::Add(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, out + i);
  }
};

void add_float(const float* a, const float* b, float* out, std::size_t n) {
  for_each_element<float>(n, Add<float>{a, b, out});
}
void add_double(const double* a, const double* b, double* out, std::size_t n) {
  for_each_element<double>(n, Add<double>{a, b, out});
}

}  // namespace cohaul::update::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>

#include "cohaul/base/check.h"
#include "cohaul/update/sum_block.h"

namespace cohaul::update {
namespace {

HWY_EXPORT(add_float);
HWY_EXPORT(add_double);

template <class T>
void sum_all(std::span<const T* const> terms, T* out, std::size_t n) {
  COHAUL_CHECK(!terms.empty(), "a sum has at least one term");
  if (terms.size() == 1) {
    if (terms[0] != out) std::copy_n(terms[0], n, out);
    return;
  }
  const auto count = static_cast<std::int32_t>(terms.size());
  const auto one_each = [&](std::size_t k) {
    return SliceRange{static_cast<std::int32_t>(k), static_cast<std::int32_t>(k + 1), count};
  };
  for (std::size_t start = 0; start < n; start += kBlockElements)
    sum_block([&](std::size_t k) { return terms[k] + start; }, one_each, 0, terms.size(), 0, count,
              std::min(kBlockElements, n - start), out + start);
}

}  // namespace

void tree_sum(std::span<const float* const> terms, float* out, std::size_t n) { sum_all(terms, out, n); }
void tree_sum(std::span<const double* const> terms, double* out, std::size_t n) { sum_all(terms, out, n); }

void add(const float* a, const float* b, float* out, std::size_t n) { HWY_DYNAMIC_DISPATCH(add_float)(a, b, out, n); }
void add(const double* a, const double* b, double* out, std::size_t n) {
  HWY_DYNAMIC_DISPATCH(add_double)(a, b, out, n);
}
void add(float* a, const float* b, std::size_t n) { add(a, b, a, n); }
void add(double* a, const double* b, std::size_t n) { add(a, b, a, n); }

}  // namespace cohaul::update
#endif
