#pragma once
// A model's parameters in safetensors files.

#include <string>

#include "cohaul/base/status.h"
#include "cohaul/checkpoint/image.h"
#include "cohaul/train/model.h"

namespace cohaul::train {

/// Copies the tensors of a safetensors file into the model. The file must have every parameter, with its whole shape and its type, and no tensor that
/// the model does not have; buffers may be missing. Errors: invalid, naming file and tensor.
Status load(const Model& model, const std::string& path);

/// Copies tensors of a safetensors file into `tensors`; the file must have all of them. Errors: invalid, naming file and tensor.
Status load_tensors(const NamedTensors& tensors, const std::string& path);

/// Returns contiguous copies of the whole parameters. Where the model has split parameters, their parts are gathered over `group`: every worker must
/// call it.
Result<NamedTensors> whole_parameters(const Model& model, collective::Group* group);
/// Returns the content of a safetensors file with copies of the tensors.
Result<checkpoint::FileImage> image_of(checkpoint::ImageMemory& memory, std::string name, const NamedTensors& tensors);
/// Writes parameters and buffers into a safetensors file.
Status save(const std::string& path, const NamedTensors& parameters, const NamedTensors& buffers);
/// Returns the SHA-256 of the whole parameters.
std::string sha256(const NamedTensors& parameters);

}  // namespace cohaul::train
