#include "cohaul/cli/failure.h"

#include "cohaul/base/exit_code.h"

namespace cohaul::cli {
namespace {

observe::Value text_or_null(const std::string& text) {
  return text.empty() ? observe::Value(nullptr) : observe::Value(text);
}

}  // namespace

Outcome outcome_of(const Status& status, const std::string& operation) {
  if (status.ok()) return std::nullopt;
  return Failure{.exit = exit_code(status.code()), .operation = operation, .message = status.message()};
}

observe::Event event_of(const Failure& failure) {
  return {"error",
          {{"exit", failure.exit},
           {"role", text_or_null(failure.role)},
           {"rank", failure.rank ? observe::Value(*failure.rank) : observe::Value(nullptr)},
           {"operation", text_or_null(failure.operation)},
           {"message", failure.message}}};
}

}  // namespace cohaul::cli
