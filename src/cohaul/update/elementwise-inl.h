// For each element, the same operations: whole vectors first, then one lane at a time. Included once for every
// instruction set by hwy/foreach_target.h, hence no #pragma once. An Operation has
//   template <class D> void operator()(D d, std::size_t i) const;   // elements [i, i + Lanes(d))
// made of additions, multiplications, divisions and square roots, each of which rounds once and alike everywhere.

#if defined(COHAUL_UPDATE_ELEMENTWISE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef COHAUL_UPDATE_ELEMENTWISE_INL_H_
#undef COHAUL_UPDATE_ELEMENTWISE_INL_H_
#else
#define COHAUL_UPDATE_ELEMENTWISE_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>

HWY_BEFORE_NAMESPACE();
namespace cohaul::update::HWY_NAMESPACE {

template <class T, class Operation>
HWY_INLINE void for_each_element(std::size_t n, const Operation& operation) {
  const hwy::HWY_NAMESPACE::ScalableTag<T> whole;
  const hwy::HWY_NAMESPACE::CappedTag<T, 1> single;
  const std::size_t lanes = hwy::HWY_NAMESPACE::Lanes(whole);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) operation(whole, i);
  for (; i < n; ++i) operation(single, i);
}

}  // namespace cohaul::update::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
