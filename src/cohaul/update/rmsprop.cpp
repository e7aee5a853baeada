// torch.optim.RMSprop: g += weight_decay·p;  v = α·v + (1 − α)·g²;  centered: m = α·m + (1 − α)·g, and v − m² in v's place below;
// d = g/(√v + ε);  with momentum: b = momentum·b + d, and b in d's place;  p −= lr·d. Hinton, "Neural networks for machine learning",
// lecture 6 (2012); centered: Graves, "Generating sequences with recurrent neural networks" (2013).

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cohaul/update/rmsprop.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cohaul/update/elementwise-inl.h"
#include "cohaul/update/rules.h"

#ifndef COHAUL_UPDATE_RMSPROP_STEP_
#define COHAUL_UPDATE_RMSPROP_STEP_
namespace cohaul::update {
/// The step's numbers, in the type of the elements.
template <class T>
struct RmspropStep {
  T lr, alpha, rest, eps, weight_decay, momentum;  // rest: 1 − α
  bool centered;
};
}  // namespace cohaul::update
#endif

HWY_BEFORE_NAMESPACE();
namespace cohaul::update::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// m, b: null where there is no mean, no momentum.
template <class T, bool kCentered, bool kMomentum>
struct Rmsprop {
  const T* __restrict g;
  const T* p;
  T* out;
  T* __restrict v;
  T* __restrict m;
  T* __restrict b;
  RmspropStep<T> s;
  template <class D>
  HWY_INLINE void operator()(D d, std::size_t i) const {
    const auto parameter = hn::LoadU(d, p + i);
    const auto alpha = hn::Set(d, s.alpha), rest = hn::Set(d, s.rest);
    auto gradient = hn::LoadU(d, g + i);
    if (s.weight_decay != 0) gradient = hn::Add(gradient, hn::Mul(hn::Set(d, s.weight_decay), parameter));
    const auto square = hn::Add(hn::Mul(alpha, hn::LoadU(d, v + i)), hn::Mul(hn::Mul(rest, gradient), gradient));
    hn::StoreU(square, d, v + i);
    auto variance = square;
    if constexpr (kCentered) {
      const auto mean = hn::Add(hn::Mul(alpha, hn::LoadU(d, m + i)), hn::Mul(rest, gradient));
      hn::StoreU(mean, d, m + i);
      variance = hn::Sub(square, hn::Mul(mean, mean));
    }
    auto step = hn::Div(gradient, hn::Add(hn::Sqrt(variance), hn::Set(d, s.eps)));
    if constexpr (kMomentum) {
      step = hn::Add(hn::Mul(hn::Set(d, s.momentum), hn::LoadU(d, b + i)), step);
      hn::StoreU(step, d, b + i);
    }
    hn::StoreU(hn::Sub(parameter, hn::Mul(hn::Set(d, s.lr), step)), d, out + i);
  }
};

template <class T>
HWY_INLINE void rmsprop(const T* g, const T* p, T* out, T* const* state, std::size_t n, const RmspropStep<T>& s) {
  T *v = state[0], *m = s.centered ? state[1] : nullptr, *b = s.momentum != 0 ? state[s.centered ? 2 : 1] : nullptr;
  if (m && b) for_each_element<T>(n, Rmsprop<T, true, true>{g, p, out, v, m, b, s});
  else if (m) for_each_element<T>(n, Rmsprop<T, true, false>{g, p, out, v, m, b, s});
  else if (b) for_each_element<T>(n, Rmsprop<T, false, true>{g, p, out, v, m, b, s});
  else for_each_element<T>(n, Rmsprop<T, false, false>{g, p, out, v, m, b, s});
}

void rmsprop_float(const float* g, const float* p, float* out, float* const* state, std::size_t n,
                   const RmspropStep<float>& s) {
  rmsprop(g, p, out, state, n, s);
}
void rmsprop_double(const double* g, const double* p, double* out, double* const* state, std::size_t n,
                    const RmspropStep<double>& s) {
  rmsprop(g, p, out, state, n, s);
}

}  // namespace cohaul::update::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cohaul::update {
namespace {

HWY_EXPORT(rmsprop_float);
HWY_EXPORT(rmsprop_double);

class RmspropRule final : public Rule {
 public:
  explicit RmspropRule(const RuleSettings& settings) : s_(settings) {}
  int states() const override { return 1 + (s_.centered ? 1 : 0) + (s_.momentum != 0 ? 1 : 0); }
  void apply(const float* g, const float* p, float* out, float* const* state, std::size_t n, double lr,
             std::int64_t count) const override {
    HWY_DYNAMIC_DISPATCH(rmsprop_float)(g, p, out, state, n, numbers<float>(lr, count));
  }
  void apply(const double* g, const double* p, double* out, double* const* state, std::size_t n, double lr,
             std::int64_t count) const override {
    HWY_DYNAMIC_DISPATCH(rmsprop_double)(g, p, out, state, n, numbers<double>(lr, count));
  }

 private:
  template <class T>
  RmspropStep<T> numbers(double lr, std::int64_t count) const {
    static_cast<void>(count);
    return {static_cast<T>(lr),
            static_cast<T>(s_.alpha),
            static_cast<T>(1 - s_.alpha),
            static_cast<T>(s_.eps),
            static_cast<T>(s_.weight_decay),
            static_cast<T>(s_.momentum),
            s_.centered};
  }
  RuleSettings s_;
};

}  // namespace

std::unique_ptr<const Rule> make_rmsprop(const RuleSettings& settings) {
  return std::make_unique<RmspropRule>(settings);
}

}  // namespace cohaul::update
#endif
