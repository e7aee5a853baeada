// What Adam and AdamW share: m = β₁m + (1 − β₁)g;  v = β₂v + (1 − β₂)g²;  p −= lr/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε).
// Kingma, Ba, "Adam: a method for stochastic optimization" (2015); t counts updates from 1. They differ in weight
// decay: Adam adds weight_decay·p to g, AdamW first scales p by 1 − lr·weight_decay (Loshchilov, Hutter, 2019).
// With amsgrad the largest v so far stands in v's place below the fraction (Reddi, Kale, Kumar, 2018).
// Included once for every instruction set, like elementwise-inl.h.

#include "cohaul/update/elementwise-inl.h"
#include "cohaul/update/rules.h"

#ifndef COHAUL_UPDATE_ADAM_STEP_
#define COHAUL_UPDATE_ADAM_STEP_

#include <cmath>

namespace cohaul::update {

/// The step's numbers, computed in double, then rounded once to the type of the elements.
template <class T>
struct AdamStep {
  T beta1, beta1_rest, beta2, beta2_rest;  // rest: 1 − β
  T step_size;                             // lr / (1 − β₁ᵗ)
  T root_scale;                            // 1 / √(1 − β₂ᵗ)
  T eps;
  T decay;  // Adam: weight_decay; AdamW: 1 − lr·weight_decay
  bool amsgrad;

  AdamStep(const RuleSettings& s, double lr, std::int64_t count, double decay)
      : beta1(static_cast<T>(s.beta1)),
        beta1_rest(static_cast<T>(1 - s.beta1)),
        beta2(static_cast<T>(s.beta2)),
        beta2_rest(static_cast<T>(1 - s.beta2)),
        step_size(static_cast<T>(lr / (1 - std::pow(s.beta1, static_cast<double>(count))))),
        root_scale(static_cast<T>(1 / std::sqrt(1 - std::pow(s.beta2, static_cast<double>(count))))),
        eps(static_cast<T>(s.eps)),
        decay(static_cast<T>(decay)),
        amsgrad(s.amsgrad) {}
};

}  // namespace cohaul::update
#endif

#if defined(COHAUL_UPDATE_ADAM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef COHAUL_UPDATE_ADAM_INL_H_
#undef COHAUL_UPDATE_ADAM_INL_H_
#else
#define COHAUL_UPDATE_ADAM_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace cohaul::update::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Moves the running mean of gradients, and returns it.
template <class T, class D, class V>
HWY_INLINE V adam_mean(D d, V gradient, T* m, const AdamStep<T>& s) {
  const V mean = hn::Add(hn::Mul(hn::Set(d, s.beta1), hn::LoadU(d, m)), hn::Mul(hn::Set(d, s.beta1_rest), gradient));
  hn::StoreU(mean, d, m);
  return mean;
}

/// Moves the running mean of the gradients' squares, and returns it.
template <class T, class D, class V>
HWY_INLINE V adam_square(D d, V gradient, T* v, const AdamStep<T>& s) {
  const V square = hn::Add(hn::Mul(hn::Set(d, s.beta2), hn::LoadU(d, v)),
                           hn::Mul(hn::Mul(hn::Set(d, s.beta2_rest), gradient), gradient));
  hn::StoreU(square, d, v);
  return square;
}

/// largest: null without amsgrad.
template <class T, bool kDecoupled, bool kAmsgrad>
struct Adam {
  const T* __restrict g;
  const T* p;
  T* out;
  T* __restrict m;
  T* __restrict v;
  T* __restrict largest;
  AdamStep<T> s;
  template <class D>
  HWY_INLINE void operator()(D d, std::size_t i) const {
    auto parameter = hn::LoadU(d, p + i);
    auto gradient = hn::LoadU(d, g + i);
    if constexpr (kDecoupled) parameter = hn::Mul(parameter, hn::Set(d, s.decay));
    else if (s.decay != 0) gradient = hn::Add(gradient, hn::Mul(hn::Set(d, s.decay), parameter));
    const auto mean = adam_mean(d, gradient, m + i, s), square = adam_square(d, gradient, v + i, s);
    auto below = square;
    if constexpr (kAmsgrad) {
      // As torch's maximum: NaN stays NaN.
      const auto before = hn::LoadU(d, largest + i);
      below = hn::IfThenElse(hn::Ge(before, square), before, square);
      below = hn::IfThenElse(hn::IsNaN(before), before, below);
      hn::StoreU(below, d, largest + i);
    }
    const auto root = hn::Add(hn::Mul(hn::Sqrt(below), hn::Set(d, s.root_scale)), hn::Set(d, s.eps));
    hn::StoreU(hn::Sub(parameter, hn::Div(hn::Mul(hn::Set(d, s.step_size), mean), root)), d, out + i);
  }
};

template <bool kDecoupled, class T>
HWY_INLINE void adam_update(const T* g, const T* p, T* out, T* const* state, std::size_t n, const AdamStep<T>& s) {
  if (s.amsgrad) for_each_element<T>(n, Adam<T, kDecoupled, true>{g, p, out, state[0], state[1], state[2], s});
  else for_each_element<T>(n, Adam<T, kDecoupled, false>{g, p, out, state[0], state[1], nullptr, s});
}

}  // namespace cohaul::update::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
