// torch.optim.Adam and AdamW: weight decay is part of the gradient in the former, and apart from it in the latter.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cohaul/update/adam.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cohaul/update/adam-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cohaul::update::HWY_NAMESPACE {

void adam_float(const float* g, const float* p, float* out, float* const* state, std::size_t n, bool decoupled,
                const AdamStep<float>& s) {
  decoupled ? adam_update<true>(g, p, out, state, n, s) : adam_update<false>(g, p, out, state, n, s);
}
void adam_double(const double* g, const double* p, double* out, double* const* state, std::size_t n, bool decoupled,
                 const AdamStep<double>& s) {
  decoupled ? adam_update<true>(g, p, out, state, n, s) : adam_update<false>(g, p, out, state, n, s);
}

}  // namespace cohaul::update::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cohaul::update {
namespace {

HWY_EXPORT(adam_float);
HWY_EXPORT(adam_double);

class AdamRule final : public Rule {
 public:
  explicit AdamRule(const RuleSettings& settings)
      : s_(settings), decoupled_(settings.kind == RuleSettings::Kind::adamw) {}
  int states() const override { return s_.amsgrad ? 3 : 2; }
  void apply(const float* g, const float* p, float* out, float* const* state, std::size_t n, double lr,
             std::int64_t count) const override {
    HWY_DYNAMIC_DISPATCH(adam_float)(g, p, out, state, n, decoupled_, AdamStep<float>(s_, lr, count, decay(lr)));
  }
  void apply(const double* g, const double* p, double* out, double* const* state, std::size_t n, double lr,
             std::int64_t count) const override {
    HWY_DYNAMIC_DISPATCH(adam_double)(g, p, out, state, n, decoupled_, AdamStep<double>(s_, lr, count, decay(lr)));
  }

 private:
  double decay(double lr) const { return decoupled_ ? 1 - lr * s_.weight_decay : s_.weight_decay; }
  RuleSettings s_;
  bool decoupled_;
};

}  // namespace

std::unique_ptr<const Rule> make_adam(const RuleSettings& settings) { return std::make_unique<AdamRule>(settings); }

}  // namespace cohaul::update
#endif
