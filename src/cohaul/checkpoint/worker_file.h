#pragma once
// Files worker-….safetensors with what each worker keeps beside the model: texts of the program, and its random
// generator.

#include <map>
#include <string>

#include "cohaul/base/status.h"
#include "cohaul/checkpoint/image.h"

namespace cohaul::checkpoint {

struct WorkerState {
  std::map<std::string, std::string> values;  // any bytes
  std::string generator;                      // of LibTorch's default generator on the CPU, as it gives it
  bool operator==(const WorkerState&) const = default;
};

Result<FileImage> worker_image(ImageMemory& memory, int rank, const WorkerState& state);
/// Reads a worker's file. Errors: invalid, naming the file: it is not there, or not what a worker_image() has.
Result<WorkerState> read_worker(const std::string& checkpoint, int rank);

}  // namespace cohaul::checkpoint
