#pragma once
// The norms of a step's gradients, for people.

#include <string>
#include <vector>

#include "cohaul/observe/event.h"

namespace cohaul::observe {

/// Returns the lines of an event "gradients": a head, and a line for each layer, in the model's order. It has the
/// layer's name, the norm of all its parameters' gradients together, and a bar with one cell for each decade, from
/// 1e-12 of the largest layer's on. A layer below 1e-4 of the largest is marked. styled: for a terminal, such layers
/// in red.
std::vector<std::string> gradient_lines(const Event& event, bool styled = false);

}  // namespace cohaul::observe
