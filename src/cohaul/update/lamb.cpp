// LAMB: m = β₁·m + (1 − β₁)·g;  v = β₂·v + (1 − β₂)·g²;  r = m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + ε);  d = r + weight_decay·w;
// w −= lr · ‖w‖/‖d‖ · d. The ratio is 1 where a norm is 0, and without a trust ratio. You et al., "Large batch optimization for deep learning"
// (2020), algorithm 2, where φ(z) = z.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cohaul/update/lamb.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cohaul/update/adam-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cohaul::update::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// step_size is 1/(1 − β₁ᵗ), decay the weight decay.
template <class T>
struct LambDirection {
  const T* __restrict g;
  const T* p;
  T* __restrict out;
  T* __restrict m;
  T* __restrict v;
  AdamStep<T> s;
  template <class D>
  HWY_INLINE void operator()(D d, std::size_t i) const {
    const auto gradient = hn::LoadU(d, g + i);
    const auto mean = adam_mean(d, gradient, m + i, s), square = adam_square(d, gradient, v + i, s);
    const auto root = hn::Add(hn::Mul(hn::Sqrt(square), hn::Set(d, s.root_scale)), hn::Set(d, s.eps));
    const auto ratio = hn::Div(hn::Mul(hn::Set(d, s.step_size), mean), root);
    hn::StoreU(hn::Add(ratio, hn::Mul(hn::Set(d, s.decay), hn::LoadU(d, p + i))), d, out + i);
  }
};

template <class T>
struct LambMove {
  const T* __restrict direction;
  const T* p;
  T* out;
  T rate;
  template <class D>
  HWY_INLINE void operator()(D d, std::size_t i) const {
    const auto step = hn::Mul(hn::Set(d, rate), hn::LoadU(d, direction + i));
    hn::StoreU(hn::Sub(hn::LoadU(d, p + i), step), d, out + i);
  }
};

void lamb_direct_float(const float* g, const float* p, float* out, float* const* state, std::size_t n,
                       const AdamStep<float>& s) {
  for_each_element<float>(n, LambDirection<float>{g, p, out, state[0], state[1], s});
}
void lamb_direct_double(const double* g, const double* p, double* out, double* const* state, std::size_t n,
                        const AdamStep<double>& s) {
  for_each_element<double>(n, LambDirection<double>{g, p, out, state[0], state[1], s});
}
void lamb_move_float(const float* direction, const float* p, float* out, std::size_t n, float rate) {
  for_each_element<float>(n, LambMove<float>{direction, p, out, rate});
}
void lamb_move_double(const double* direction, const double* p, double* out, std::size_t n, double rate) {
  for_each_element<double>(n, LambMove<double>{direction, p, out, rate});
}

}  // namespace cohaul::update::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cohaul::update {
namespace {

HWY_EXPORT(lamb_direct_float);
HWY_EXPORT(lamb_direct_double);
HWY_EXPORT(lamb_move_float);
HWY_EXPORT(lamb_move_double);

class LambRule final : public LayerwiseRule {
 public:
  explicit LambRule(const RuleSettings& settings) : s_(settings) {}
  int states() const override { return 2; }
  void direct(const float* g, const float* p, float* direction, float* const* state, std::size_t n,
              std::int64_t count) const override {
    HWY_DYNAMIC_DISPATCH(lamb_direct_float)
    (g, p, direction, state, n, AdamStep<float>(s_, 1, count, s_.weight_decay));
  }
  void direct(const double* g, const double* p, double* direction, double* const* state, std::size_t n,
              std::int64_t count) const override {
    HWY_DYNAMIC_DISPATCH(lamb_direct_double)
    (g, p, direction, state, n, AdamStep<double>(s_, 1, count, s_.weight_decay));
  }
  double trust(const Norms& norms) const override {
    if (!s_.trust_ratio || norms.parameter == 0 || norms.direction == 0) return 1;
    return norms.parameter / norms.direction;
  }
  void apply(const float* direction, const float* p, float* out, float* const*, std::size_t n, double rate,
             std::int64_t) const override {
    HWY_DYNAMIC_DISPATCH(lamb_move_float)(direction, p, out, n, static_cast<float>(rate));
  }
  void apply(const double* direction, const double* p, double* out, double* const*, std::size_t n, double rate,
             std::int64_t) const override {
    HWY_DYNAMIC_DISPATCH(lamb_move_double)(direction, p, out, n, rate);
  }

 private:
  RuleSettings s_;
};

}  // namespace

std::unique_ptr<const Rule> make_lamb(const RuleSettings& settings) { return std::make_unique<LambRule>(settings); }

}  // namespace cohaul::update
#endif
