#pragma once
// `cohaul agent`: what `--hosts` starts on each host. People do not call it.

namespace cohaul::cli {

/// Blocks until the launcher at the other end of stdin and stdout has gone. Returns the exit code.
int run_agent();

}  // namespace cohaul::cli
