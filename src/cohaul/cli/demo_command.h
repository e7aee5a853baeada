#pragma once
// `cohaul demo`: the classic example of distributed learning, softmax regression, in six modes, then a model that is
// worth its processes.

#include <string>

namespace cohaul::cli {

struct DemoArguments {
  std::string jobs{};  // empty: beside the sources, or as installed
  int steps = 1000;
};

/// Blocks for about a minute. Tables go to stdout, the losses of the runs to stderr. Returns the exit code: the first
/// failing run's.
int run_demo(const DemoArguments& arguments);

}  // namespace cohaul::cli
