// The rule that updates nothing: the summed gradient takes the place of the parameter.

#include <algorithm>

#include "cohaul/update/rules.h"

namespace cohaul::update {
namespace {

class StoreRule final : public Rule {
 public:
  int states() const override { return 0; }
  void apply(const float* gradient, const float*, float* out, float* const*, std::size_t n, double,
             std::int64_t) const override {
    std::copy_n(gradient, n, out);
  }
  void apply(const double* gradient, const double*, double* out, double* const*, std::size_t n, double,
             std::int64_t) const override {
    std::copy_n(gradient, n, out);
  }
};

}  // namespace

std::unique_ptr<const Rule> make_store(const RuleSettings&) { return std::make_unique<StoreRule>(); }

}  // namespace cohaul::update
