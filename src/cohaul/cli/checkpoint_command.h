#pragma once
// `cohaul checkpoint`: lists a folder's checkpoints, verifies them, or exports the parameters of one as a file.

#include <string>

namespace cohaul::cli {

struct CheckpointArguments {
  std::string folder;       // a folder of checkpoints, or one checkpoint
  std::string export_file;  // file to write; empty: the checkpoints are listed
};

/// Lists the checkpoints and verifies each, or writes parameters and buffers of the newest good one into a safetensors file. Returns the exit code: 2
/// where no checkpoint is good.
int run_checkpoint(const CheckpointArguments& arguments);

}  // namespace cohaul::cli
