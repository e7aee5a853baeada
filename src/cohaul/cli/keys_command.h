#pragma once
// cohaul keys: the keys of a job, in words.

#include <string>

namespace cohaul::cli {

struct KeysArguments {
  std::string pattern;    // empty: all
  bool markdown = false;  // as the README has them
};

/// Prints the keys that match. Returns the exit code.
int run_keys(const KeysArguments& arguments);

}  // namespace cohaul::cli
