#pragma once
// `cohaul secret`: makes the secret by which a user's processes on several hosts recognize each other.

namespace cohaul::cli {

/// Makes ~/.config/cohaul/secret if there is none, and prints its path. Returns the exit code.
int run_secret();

}  // namespace cohaul::cli
