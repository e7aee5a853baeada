#pragma once
// cohaul secret: makes the secret by which a user's processes on several hosts know each other.

namespace cohaul::cli {

/// Makes ~/.config/cohaul/secret where there is none, and says where it is. Returns the exit code.
int run_secret();

}  // namespace cohaul::cli
