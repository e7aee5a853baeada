#pragma once
// cohaul checkpoint: what is in a folder of checkpoints, whether it is good, and its parameters as one file.

#include <string>

namespace cohaul::cli {

struct CheckpointArguments {
  std::string folder;       // of checkpoints, or one of them
  std::string export_file;  // empty: lists
};

/// Lists the checkpoints and verifies each, or writes the newest good one's parameters and buffers as one safetensors file. Returns the exit
/// code: 2 where there is none that is good.
int run_checkpoint(const CheckpointArguments& arguments);

}  // namespace cohaul::cli
