#include "cohaul/update/rule.h"

#include "cohaul/base/check.h"
#include "cohaul/update/rules.h"

namespace cohaul::update {

std::unique_ptr<const Rule> make_rule(const RuleSettings& settings) {
  COHAUL_CHECK(settings.check().ok(), "settings of a rule are checked before it is made");
  switch (settings.kind) {
    case RuleSettings::Kind::sgd: return make_sgd(settings);
    case RuleSettings::Kind::adam:
    case RuleSettings::Kind::adamw: return make_adam(settings);
    case RuleSettings::Kind::adagrad: return make_adagrad(settings);
    case RuleSettings::Kind::rmsprop: return make_rmsprop(settings);
    case RuleSettings::Kind::lion: return make_lion(settings);
    case RuleSettings::Kind::lars: return make_lars(settings);
    case RuleSettings::Kind::lamb: return make_lamb(settings);
    case RuleSettings::Kind::store: return make_store(settings);
  }
  return nullptr;
}

}  // namespace cohaul::update
