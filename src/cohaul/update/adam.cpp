// torch.optim.Adam: weight decay is part of the gradient.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cohaul/update/adam.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cohaul/update/adam-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cohaul::update::HWY_NAMESPACE {

void adam_float(const float* g, const float* p, float* out, float* const* state, std::size_t n,
                const AdamStep<float>& s) {
  adam_update<false>(g, p, out, state, n, s);
}
void adam_double(const double* g, const double* p, double* out, double* const* state, std::size_t n,
                 const AdamStep<double>& s) {
  adam_update<false>(g, p, out, state, n, s);
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
  explicit AdamRule(const RuleSettings& settings) : s_(settings) {}
  int states() const override { return s_.amsgrad ? 3 : 2; }
  void apply(const float* g, const float* p, float* out, float* const* state, std::size_t n, double lr,
             std::int64_t count) const override {
    HWY_DYNAMIC_DISPATCH(adam_float)(g, p, out, state, n, AdamStep<float>(s_, lr, count, decay(lr)));
  }
  void apply(const double* g, const double* p, double* out, double* const* state, std::size_t n, double lr,
             std::int64_t count) const override {
    HWY_DYNAMIC_DISPATCH(adam_double)(g, p, out, state, n, AdamStep<double>(s_, lr, count, decay(lr)));
  }

 private:
  double decay(double) const { return s_.weight_decay; }
  RuleSettings s_;
};

}  // namespace

std::unique_ptr<const Rule> make_adam(const RuleSettings& settings) { return std::make_unique<AdamRule>(settings); }

}  // namespace cohaul::update
#endif
