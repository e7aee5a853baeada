#pragma once
// How a command failed. Its exit code, its line on stderr and the record's last event are made from it.

#include <optional>
#include <string>

#include "cohaul/base/status.h"
#include "cohaul/observe/event.h"

namespace cohaul::cli {

struct Failure {
  int exit = 1;
  std::string role{};  // of the process that failed; empty: no process in particular
  std::optional<int> rank{};
  std::string operation{}, message{};
};

/// No value: the command succeeded.
using Outcome = std::optional<Failure>;

/// Returns the outcome of an operation that returned `status`.
Outcome outcome_of(const Status& status, const std::string& operation);
/// Returns the record's event "error".
observe::Event event_of(const Failure& failure);

}  // namespace cohaul::cli
