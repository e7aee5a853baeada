// Lion: d = sign(β₁·m + (1 − β₁)·g), where sign(0) = 0;  p = p·(1 − lr·weight_decay) − lr·d;  m = β₂·m + (1 − β₂)·g.
// Chen et al., "Symbolic discovery of optimization algorithms" (2023), algorithm 2.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cohaul/update/lion.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cohaul/update/elementwise-inl.h"
#include "cohaul/update/rules.h"

#ifndef COHAUL_UPDATE_LION_STEP_
#define COHAUL_UPDATE_LION_STEP_
namespace cohaul::update {
/// The step's numbers, in the type of the elements.
template <class T>
struct LionStep {
  T lr, beta1, beta1_rest, beta2, beta2_rest, decay;  // rest: 1 − β; decay: 1 − lr·weight_decay
};
}  // namespace cohaul::update
#endif

HWY_BEFORE_NAMESPACE();
namespace cohaul::update::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
struct Lion {
  const T* __restrict g;
  const T* p;
  T* out;
  T* __restrict m;
  LionStep<T> s;
  template <class D>
  HWY_INLINE void operator()(D d, std::size_t i) const {
    const auto gradient = hn::LoadU(d, g + i), mean = hn::LoadU(d, m + i);
    const auto direction = hn::Add(hn::Mul(hn::Set(d, s.beta1), mean), hn::Mul(hn::Set(d, s.beta1_rest), gradient));
    const auto zero = hn::Zero(d), lr = hn::Set(d, s.lr);
    // NaN stays NaN: it is neither above nor below 0, and lr times NaN is no step of 0.
    auto step = hn::Mul(direction, lr);
    step = hn::IfThenElse(hn::Gt(direction, zero), lr, step);
    step = hn::IfThenElse(hn::Lt(direction, zero), hn::Neg(lr), step);
    hn::StoreU(hn::Sub(hn::Mul(hn::LoadU(d, p + i), hn::Set(d, s.decay)), step), d, out + i);
    hn::StoreU(hn::Add(hn::Mul(hn::Set(d, s.beta2), mean), hn::Mul(hn::Set(d, s.beta2_rest), gradient)), d, m + i);
  }
};

template <class T>
HWY_INLINE void lion(const T* g, const T* p, T* out, T* const* state, std::size_t n, const LionStep<T>& s) {
  for_each_element<T>(n, Lion<T>{g, p, out, state[0], s});
}

void lion_float(const float* g, const float* p, float* out, float* const* state, std::size_t n,
                const LionStep<float>& s) {
  lion(g, p, out, state, n, s);
}
void lion_double(const double* g, const double* p, double* out, double* const* state, std::size_t n,
                 const LionStep<double>& s) {
  lion(g, p, out, state, n, s);
}

}  // namespace cohaul::update::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cohaul::update {
namespace {

HWY_EXPORT(lion_float);
HWY_EXPORT(lion_double);

class LionRule final : public Rule {
 public:
  explicit LionRule(const RuleSettings& settings) : s_(settings) {}
  int states() const override { return 1; }
  void apply(const float* g, const float* p, float* out, float* const* state, std::size_t n, double lr,
             std::int64_t count) const override {
    HWY_DYNAMIC_DISPATCH(lion_float)(g, p, out, state, n, numbers<float>(lr, count));
  }
  void apply(const double* g, const double* p, double* out, double* const* state, std::size_t n, double lr,
             std::int64_t count) const override {
    HWY_DYNAMIC_DISPATCH(lion_double)(g, p, out, state, n, numbers<double>(lr, count));
  }

 private:
  template <class T>
  LionStep<T> numbers(double lr, std::int64_t count) const {
    static_cast<void>(count);
    return {static_cast<T>(lr),       static_cast<T>(s_.beta1),     static_cast<T>(1 - s_.beta1),
            static_cast<T>(s_.beta2), static_cast<T>(1 - s_.beta2), static_cast<T>(1 - lr * s_.weight_decay)};
  }
  RuleSettings s_;
};

}  // namespace

std::unique_ptr<const Rule> make_lion(const RuleSettings& settings) { return std::make_unique<LionRule>(settings); }

}  // namespace cohaul::update
#endif
