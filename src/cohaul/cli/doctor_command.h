#pragma once
// `cohaul doctor`: what a bug report needs, and what is wrong on this machine.

namespace cohaul::cli {

struct DoctorArguments {
  int workers = 0;    // of the job that limits are held against; 0: one a core
  bool json = false;  // else text
};

/// Blocks for a second or two. The report goes to stdout. Returns the exit code: 1 where something stops jobs on this machine.
int run_doctor(const DoctorArguments& arguments);

}  // namespace cohaul::cli
