#pragma once
// Reads an engine's variables.

#include <string>
#include <string_view>

#include "cohaul/job/engines/place.h"

namespace cohaul::job {

/// Empty: not set.
std::string text_of(const Variables& variables, std::string_view name);
bool is_set(const Variables& variables, std::string_view name);
/// A number of at least `least`. invalid, naming the variable: it is not set, or is something else.
Result<int> number_of(const Variables& variables, std::string_view name, int least);
/// Both, the first less than the second. invalid, naming the variable.
Status read_task(const Variables& variables, std::string_view task, std::string_view tasks, Place& out);

}  // namespace cohaul::job
