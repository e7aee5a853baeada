#pragma once
// `cohaul demo`: trains softmax regression in six modes, then a larger model that gains from several processes.

#include <string>

namespace cohaul::cli {

struct DemoArguments {
  std::string jobs{};  // folder of the job files; empty: that of the sources or of the installation
  int steps = 1000;
};

/// Blocks for about a minute. Writes tables to stdout, and losses to stderr while training. Returns the exit code: that of the first run that fails.
int run_demo(const DemoArguments& arguments);

}  // namespace cohaul::cli
