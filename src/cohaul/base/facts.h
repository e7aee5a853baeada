#pragma once
// Facts: what several processes must agree on, as lines "name=value\n", each name once.

#include <string_view>

#include "cohaul/base/status.h"

namespace cohaul {

/// ok, or invalid, naming the first fact that differs and both values: "train.batch is 100 at worker 0 and 64 at worker 1: it must be
/// the same at all workers". A fact that one side lacks is `not set` there. The order of the lines does not matter.
Status compare_facts(std::string_view a, std::string_view who_a, std::string_view b, std::string_view who_b);

/// The name of the first fact of a loop: its number.
constexpr std::string_view kLoopFact = "loop";
/// Returns whether these are the facts of a loop that begins.
bool begins_loop(std::string_view facts);

}  // namespace cohaul
