#include "cohaul/job/engines/read.h"

#include <charconv>

#include "cohaul/base/limits.h"

namespace cohaul::job {
namespace {

Status wrong(std::string_view name, std::string_view value, const std::string& expected) {
  return invalid("the environment variable " + std::string(name) + " is '" + std::string(value) + "': it should be " +
                 expected);
}

}  // namespace

std::string text_of(const Variables& variables, std::string_view name) {
  const auto it = variables.find(name);
  return it == variables.end() ? std::string() : it->second;
}

bool is_set(const Variables& variables, std::string_view name) { return !text_of(variables, name).empty(); }

Result<int> number_of(const Variables& variables, std::string_view name, int least) {
  const std::string text = text_of(variables, name);
  if (text.empty()) return invalid("the environment variable " + std::string(name) + " is not set");
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > kWorldMax)
    return wrong(name, text, "a number of at least " + std::to_string(least));
  return value;
}

Status read_task(const Variables& variables, std::string_view task, std::string_view tasks, Place& out) {
  COHAUL_ASSIGN(out.tasks, number_of(variables, tasks, 1));
  COHAUL_ASSIGN(out.task, number_of(variables, task, 0));
  if (out.task < out.tasks) return {};
  return wrong(task, text_of(variables, task), "a rank in 0 … " + std::to_string(out.tasks - 1));
}

}  // namespace cohaul::job
