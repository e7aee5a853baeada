#pragma once
// The keys optimizer.*, those of its groups (optimizer.group.N.*) among them.

#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/config/config.h"
#include "cohaul/config/schema.h"
#include "cohaul/update/gradient_policy.h"
#include "cohaul/update/rule.h"

namespace cohaul::update {

std::vector<config::KeySpec> optimizer_keys();

/// Fills in the defaults that are each rule's own: torch.optim's, and those of Lion, LARS and LAMB as their authors give them.
void fill_optimizer(config::Config& job, const config::Schema& schema);

/// Checks what needs several of the keys: a group without patterns, two ways of clipping, … Errors: invalid.
Status check_optimizer(const config::Config& job);

/// Read, from a resolved job, the rule of the parameters that no group matches, and the policy of gradients.
RuleSettings rule_of(const config::Config& job);
GradientPolicy policy_of(const config::Config& job);

}  // namespace cohaul::update
