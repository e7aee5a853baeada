#pragma once
// One process owns everything: no peer, no message.

#include <memory>

#include "cohaul/update/exchange.h"
#include "cohaul/update/gradient_policy.h"
#include "cohaul/update/optimizer_settings.h"

namespace cohaul::update {

/// `parameters` is Layout::bytes() long, starts on 64 bytes and outlives the exchange, as does `layout`.
std::unique_ptr<Exchange> make_local_exchange(const Layout& layout, const OptimizerSettings& settings,
                                              const GradientPolicy& policy, Bytes parameters);

}  // namespace cohaul::update
