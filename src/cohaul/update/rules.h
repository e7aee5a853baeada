#pragma once
// The rules, each in its own file. Settings have been checked.

#include <memory>

#include "cohaul/update/rule.h"

namespace cohaul::update {

std::unique_ptr<const Rule> make_sgd(const RuleSettings& settings);
std::unique_ptr<const Rule> make_adam(const RuleSettings& settings);  // and AdamW
std::unique_ptr<const Rule> make_adagrad(const RuleSettings& settings);
std::unique_ptr<const Rule> make_rmsprop(const RuleSettings& settings);
std::unique_ptr<const Rule> make_lion(const RuleSettings& settings);
std::unique_ptr<const Rule> make_lars(const RuleSettings& settings);
std::unique_ptr<const Rule> make_lamb(const RuleSettings& settings);
std::unique_ptr<const Rule> make_store(const RuleSettings& settings);

}  // namespace cohaul::update
