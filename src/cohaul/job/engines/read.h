#pragma once
// Reads an engine's variables.

#include <string>
#include <string_view>

#include "cohaul/job/engines/place.h"

namespace cohaul::job {

/// Returns a variable's value; empty where it is not set.
std::string text_of(const Variables& variables, std::string_view name);
bool is_set(const Variables& variables, std::string_view name);
/// Returns a variable as a number of at least `least`. invalid, naming the variable: it is not set, or is something
/// else.
Result<int> number_of(const Variables& variables, std::string_view name, int least);
/// Reads the number of the task and the count of tasks; the first must be less than the second. invalid, naming the
/// variable.
Status read_task(const Variables& variables, std::string_view task, std::string_view tasks, Place& out);

}  // namespace cohaul::job
