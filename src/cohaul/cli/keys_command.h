#pragma once
// `cohaul keys`: describes the keys of a job file.

#include <string>

namespace cohaul::cli {

struct KeysArguments {
  std::string pattern;    // which keys; empty: all
  bool markdown = false;  // as the README's table
};

/// Prints the keys that match. Returns the exit code.
int run_keys(const KeysArguments& arguments);

}  // namespace cohaul::cli
