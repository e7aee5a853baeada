#pragma once
// How a command failed, as its exit code, its line on stderr and the record's last event say.

#include <optional>
#include <string>

#include "cohaul/base/status.h"
#include "cohaul/observe/event.h"

namespace cohaul::cli {

struct Failure {
  int exit = 1;
  std::string role{};  // empty: nobody in particular
  std::optional<int> rank{};
  std::string operation{}, message{};
};

/// Nothing: it went well.
using Outcome = std::optional<Failure>;

/// Of what an operation said.
Outcome outcome_of(const Status& status, const std::string& operation);
/// The record's "error".
observe::Event event_of(const Failure& failure);

}  // namespace cohaul::cli
