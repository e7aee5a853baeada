// torch.optim.SGD: d = g + weight_decay·p;  b = momentum·b + (1 − dampening)·d, but b = d at the first update;
// p −= lr · (d, or b with momentum, or d + momentum·b with Nesterov's).

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cohaul/update/sgd.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cohaul/update/elementwise-inl.h"
#include "cohaul/update/rules.h"

#ifndef COHAUL_UPDATE_SGD_STEP_
#define COHAUL_UPDATE_SGD_STEP_
namespace cohaul::update {
/// The step's numbers, in the type of the elements.
template <class T>
struct SgdStep {
  T lr, momentum, undamped, weight_decay;  // undamped: 1 − dampening
  bool first, nesterov;
};
}  // namespace cohaul::update
#endif

HWY_BEFORE_NAMESPACE();
namespace cohaul::update::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T, bool kMomentum>
struct Sgd {
  const T* __restrict g;
  const T* p;
  T* out;
  T* __restrict b;
  SgdStep<T> s;
  template <class D>
  HWY_INLINE void operator()(D d, std::size_t i) const {
    const auto parameter = hn::LoadU(d, p + i);
    auto step = hn::LoadU(d, g + i);
    if (s.weight_decay != 0) step = hn::Add(step, hn::Mul(hn::Set(d, s.weight_decay), parameter));
    if constexpr (kMomentum) {
      auto velocity = step;
      if (!s.first)
        velocity = hn::Add(hn::Mul(hn::Set(d, s.momentum), hn::LoadU(d, b + i)), hn::Mul(hn::Set(d, s.undamped), step));
      hn::StoreU(velocity, d, b + i);
      step = s.nesterov ? hn::Add(step, hn::Mul(hn::Set(d, s.momentum), velocity)) : velocity;
    }
    hn::StoreU(hn::Sub(parameter, hn::Mul(hn::Set(d, s.lr), step)), d, out + i);
  }
};

template <class T>
HWY_INLINE void update(const T* g, const T* p, T* out, T* b, std::size_t n, const SgdStep<T>& s) {
  if (b == nullptr) for_each_element<T>(n, Sgd<T, false>{g, p, out, b, s});
  else for_each_element<T>(n, Sgd<T, true>{g, p, out, b, s});
}

void sgd_float(const float* g, const float* p, float* out, float* b, std::size_t n, const SgdStep<float>& s) {
  update(g, p, out, b, n, s);
}
void sgd_double(const double* g, const double* p, double* out, double* b, std::size_t n, const SgdStep<double>& s) {
  update(g, p, out, b, n, s);
}

}  // namespace cohaul::update::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cohaul::update {
namespace {

HWY_EXPORT(sgd_float);
HWY_EXPORT(sgd_double);

class SgdRule final : public Rule {
 public:
  explicit SgdRule(const RuleSettings& settings) : s_(settings) {}
  int states() const override { return s_.momentum != 0 ? 1 : 0; }
  void apply(const float* g, const float* p, float* out, float* const* state, std::size_t n, double lr,
             std::int64_t count) const override {
    HWY_DYNAMIC_DISPATCH(sgd_float)(g, p, out, states() ? state[0] : nullptr, n, numbers<float>(lr, count));
  }
  void apply(const double* g, const double* p, double* out, double* const* state, std::size_t n, double lr,
             std::int64_t count) const override {
    HWY_DYNAMIC_DISPATCH(sgd_double)(g, p, out, states() ? state[0] : nullptr, n, numbers<double>(lr, count));
  }

 private:
  template <class T>
  SgdStep<T> numbers(double lr, std::int64_t count) const {
    return {static_cast<T>(lr),
            static_cast<T>(s_.momentum),
            static_cast<T>(1 - s_.dampening),
            static_cast<T>(s_.weight_decay),
            count == 1,
            s_.nesterov};
  }
  RuleSettings s_;
};

}  // namespace

std::unique_ptr<const Rule> make_sgd(const RuleSettings& settings) { return std::make_unique<SgdRule>(settings); }

}  // namespace cohaul::update
#endif
