#include "cohaul/train/optimizer.h"

#include <cmath>
#include <string>

namespace cohaul::train {

Status Optimizer::check() const {
  if (!std::isfinite(settings.lr) || settings.lr < 0)
    return invalid("lr is " + std::to_string(settings.lr) + "; a learning rate is a number not below 0");
  COHAUL_TRY(rule.check());
  return policy.check();
}

}  // namespace cohaul::train
