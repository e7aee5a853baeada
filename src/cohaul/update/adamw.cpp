// torch.optim.AdamW: weight decay is apart from the gradient.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cohaul/update/adamw.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cohaul/update/adam-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cohaul::update::HWY_NAMESPACE {

void adamw_float(const float* g, const float* p, float* out, float* const* state, std::size_t n,
                 const AdamStep<float>& s) {
  adam_update<true>(g, p, out, state, n, s);
}
void adamw_double(const double* g, const double* p, double* out, double* const* state, std::size_t n,
                  const AdamStep<double>& s) {
  adam_update<true>(g, p, out, state, n, s);
}

}  // namespace cohaul::update::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cohaul::update {
namespace {

HWY_EXPORT(adamw_float);
HWY_EXPORT(adamw_double);

class AdamWRule final : public Rule {
 public:
  explicit AdamWRule(const RuleSettings& settings) : s_(settings) {}
  int states() const override { return s_.amsgrad ? 3 : 2; }
  void apply(const float* g, const float* p, float* out, float* const* state, std::size_t n, double lr,
             std::int64_t count) const override {
    HWY_DYNAMIC_DISPATCH(adamw_float)(g, p, out, state, n, AdamStep<float>(s_, lr, count, decay(lr)));
  }
  void apply(const double* g, const double* p, double* out, double* const* state, std::size_t n, double lr,
             std::int64_t count) const override {
    HWY_DYNAMIC_DISPATCH(adamw_double)(g, p, out, state, n, AdamStep<double>(s_, lr, count, decay(lr)));
  }

 private:
  double decay(double lr) const { return 1 - lr * s_.weight_decay; }
  RuleSettings s_;
};

}  // namespace

std::unique_ptr<const Rule> make_adamw(const RuleSettings& settings) { return std::make_unique<AdamWRule>(settings); }

}  // namespace cohaul::update
#endif
