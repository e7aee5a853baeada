// LARS: λ = η·‖w‖ / (‖g‖ + β·‖w‖);  v = m·v + lr·λ·(g + β·w);  w −= v, with momentum m, trust coefficient η and weight decay β. λ is 1 where ‖w‖ or ‖g‖
// is 0, and without a trust ratio. You, Gitman, Ginsburg, "Large batch training of convolutional networks" (2017), equation 7 and algorithm 1.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cohaul/update/lars.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>

#include "cohaul/update/elementwise-inl.h"
#include "cohaul/update/rules.h"

#ifndef COHAUL_UPDATE_LARS_STEP_
#define COHAUL_UPDATE_LARS_STEP_
namespace cohaul::update {
/// The step's numbers, in the type of the elements.
template <class T>
struct LarsStep {
  T rate, momentum, weight_decay;  // rate: lr · λ
};
}  // namespace cohaul::update
#endif

HWY_BEFORE_NAMESPACE();
namespace cohaul::update::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// v: null without momentum.
template <class T, bool kMomentum>
struct Lars {
  const T* __restrict g;
  const T* p;
  T* out;
  T* __restrict v;
  LarsStep<T> s;
  template <class D>
  HWY_INLINE void operator()(D d, std::size_t i) const {
    const auto parameter = hn::LoadU(d, p + i);
    auto step = hn::LoadU(d, g + i);
    if (s.weight_decay != 0) step = hn::Add(step, hn::Mul(hn::Set(d, s.weight_decay), parameter));
    step = hn::Mul(hn::Set(d, s.rate), step);
    if constexpr (kMomentum) {
      step = hn::Add(hn::Mul(hn::Set(d, s.momentum), hn::LoadU(d, v + i)), step);
      hn::StoreU(step, d, v + i);
    }
    hn::StoreU(hn::Sub(parameter, step), d, out + i);
  }
};

template <class T>
HWY_INLINE void lars(const T* g, const T* p, T* out, T* v, std::size_t n, const LarsStep<T>& s) {
  if (v == nullptr) for_each_element<T>(n, Lars<T, false>{g, p, out, v, s});
  else for_each_element<T>(n, Lars<T, true>{g, p, out, v, s});
}

void lars_float(const float* g, const float* p, float* out, float* v, std::size_t n, const LarsStep<float>& s) {
  lars(g, p, out, v, n, s);
}
void lars_double(const double* g, const double* p, double* out, double* v, std::size_t n, const LarsStep<double>& s) {
  lars(g, p, out, v, n, s);
}

}  // namespace cohaul::update::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cohaul::update {
namespace {

HWY_EXPORT(lars_float);
HWY_EXPORT(lars_double);

class LarsRule final : public LayerwiseRule {
 public:
  explicit LarsRule(const RuleSettings& settings) : s_(settings) {}
  int states() const override { return s_.momentum != 0 ? 1 : 0; }
  /// The direction is the gradient itself, since the ratio takes the gradient's norm.
  void direct(const float* g, const float*, float* direction, float* const*, std::size_t n,
              std::int64_t) const override {
    std::copy_n(g, n, direction);
  }
  void direct(const double* g, const double*, double* direction, double* const*, std::size_t n,
              std::int64_t) const override {
    std::copy_n(g, n, direction);
  }
  double trust(const Norms& norms) const override {
    if (!s_.trust_ratio || norms.parameter == 0 || norms.direction == 0) return 1;
    return s_.trust_coefficient * norms.parameter / (norms.direction + s_.weight_decay * norms.parameter);
  }
  void apply(const float* g, const float* p, float* out, float* const* state, std::size_t n, double rate,
             std::int64_t) const override {
    HWY_DYNAMIC_DISPATCH(lars_float)(g, p, out, states() ? state[0] : nullptr, n, numbers<float>(rate));
  }
  void apply(const double* g, const double* p, double* out, double* const* state, std::size_t n, double rate,
             std::int64_t) const override {
    HWY_DYNAMIC_DISPATCH(lars_double)(g, p, out, states() ? state[0] : nullptr, n, numbers<double>(rate));
  }

 private:
  template <class T>
  LarsStep<T> numbers(double rate) const {
    return {static_cast<T>(rate), static_cast<T>(s_.momentum), static_cast<T>(s_.weight_decay)};
  }
  RuleSettings s_;
};

}  // namespace

std::unique_ptr<const Rule> make_lars(const RuleSettings& settings) { return std::make_unique<LarsRule>(settings); }

}  // namespace cohaul::update
#endif
