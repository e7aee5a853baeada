#pragma once
// Tensors of checkpoints: gathered, and in safetensors files.

#include <string>

#include "cohaul/base/status.h"
#include "cohaul/checkpoint/image.h"
#include "cohaul/collective/group.h"
#include "cohaul/train/model.h"

namespace cohaul::train {

/// Returns contiguous copies of the whole parameters. Where the model has split parameters, their parts are gathered over `group`: every worker must
/// call it.
Result<NamedTensors> whole_parameters(const Model& model, collective::Group* group);

/// Copies tensors of a safetensors file into `tensors`; the file must have all of them. Errors: invalid, naming file and tensor.
Status load_tensors(const NamedTensors& tensors, const std::string& path);

/// Returns the content of a safetensors file with copies of the tensors.
Result<checkpoint::FileImage> image_of(checkpoint::ImageMemory& memory, std::string name, const NamedTensors& tensors);

}  // namespace cohaul::train
