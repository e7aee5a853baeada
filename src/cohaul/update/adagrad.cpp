// torch.optim.Adagrad: g += weight_decay·p;  a += g², from initial_accumulator on;  p −= lr/(1 + (t − 1)·lr_decay) · g/(√a + ε).
// Duchi, Hazan, Singer, "Adaptive subgradient methods" (2011); t counts updates from 1.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cohaul/update/adagrad.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cohaul/update/elementwise-inl.h"
#include "cohaul/update/rules.h"

#ifndef COHAUL_UPDATE_ADAGRAD_STEP_
#define COHAUL_UPDATE_ADAGRAD_STEP_
namespace cohaul::update {
/// The step's numbers, in the type of the elements.
template <class T>
struct AdagradStep {
  T rate, weight_decay, initial, eps;  // rate: of this update
  bool first;
};
}  // namespace cohaul::update
#endif

HWY_BEFORE_NAMESPACE();
namespace cohaul::update::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
struct Adagrad {
  const T* __restrict g;
  const T* p;
  T* out;
  T* __restrict a;
  AdagradStep<T> s;
  template <class D>
  HWY_INLINE void operator()(D d, std::size_t i) const {
    const auto parameter = hn::LoadU(d, p + i);
    auto gradient = hn::LoadU(d, g + i);
    if (s.weight_decay != 0) gradient = hn::Add(gradient, hn::Mul(hn::Set(d, s.weight_decay), parameter));
    const auto before = s.first ? hn::Set(d, s.initial) : hn::LoadU(d, a + i);
    const auto sum = hn::Add(before, hn::Mul(gradient, gradient));
    hn::StoreU(sum, d, a + i);
    const auto root = hn::Add(hn::Sqrt(sum), hn::Set(d, s.eps));
    hn::StoreU(hn::Sub(parameter, hn::Div(hn::Mul(hn::Set(d, s.rate), gradient), root)), d, out + i);
  }
};

template <class T>
HWY_INLINE void adagrad(const T* g, const T* p, T* out, T* const* state, std::size_t n, const AdagradStep<T>& s) {
  for_each_element<T>(n, Adagrad<T>{g, p, out, state[0], s});
}

void adagrad_float(const float* g, const float* p, float* out, float* const* state, std::size_t n,
                   const AdagradStep<float>& s) {
  adagrad(g, p, out, state, n, s);
}
void adagrad_double(const double* g, const double* p, double* out, double* const* state, std::size_t n,
                    const AdagradStep<double>& s) {
  adagrad(g, p, out, state, n, s);
}

}  // namespace cohaul::update::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cohaul::update {
namespace {

HWY_EXPORT(adagrad_float);
HWY_EXPORT(adagrad_double);

class AdagradRule final : public Rule {
 public:
  explicit AdagradRule(const RuleSettings& settings) : s_(settings) {}
  int states() const override { return 1; }
  void apply(const float* g, const float* p, float* out, float* const* state, std::size_t n, double lr,
             std::int64_t count) const override {
    HWY_DYNAMIC_DISPATCH(adagrad_float)(g, p, out, state, n, numbers<float>(lr, count));
  }
  void apply(const double* g, const double* p, double* out, double* const* state, std::size_t n, double lr,
             std::int64_t count) const override {
    HWY_DYNAMIC_DISPATCH(adagrad_double)(g, p, out, state, n, numbers<double>(lr, count));
  }

 private:
  template <class T>
  AdagradStep<T> numbers(double lr, std::int64_t count) const {
    return {static_cast<T>(lr / (1 + static_cast<double>(count - 1) * s_.lr_decay)), static_cast<T>(s_.weight_decay),
            static_cast<T>(s_.initial_accumulator), static_cast<T>(s_.eps), count == 1};
  }
  RuleSettings s_;
};

}  // namespace

std::unique_ptr<const Rule> make_adagrad(const RuleSettings& settings) {
  return std::make_unique<AdagradRule>(settings);
}

}  // namespace cohaul::update
#endif
