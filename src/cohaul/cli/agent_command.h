#pragma once
// `cohaul agent`: the command that `--hosts` starts on each host. Users do not call it.

namespace cohaul::cli {

/// Blocks until the launcher at the other end of stdin and stdout has gone. Returns the exit code.
int run_agent();

}  // namespace cohaul::cli
