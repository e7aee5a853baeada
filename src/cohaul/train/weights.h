#pragma once
// A model's parameters in files, whole and hashed.

#include <string>

#include "cohaul/base/status.h"
#include "cohaul/checkpoint/image.h"
#include "cohaul/train/model.h"

namespace cohaul::train {

/// Copies tensors of a safetensors file into the model. Every parameter must be there, with its (whole) shape and type, and nothing that the model
/// does not have; buffers may be missing. Errors: invalid, naming file and tensor.
Status load(const Model& model, const std::string& path);

/// Copies tensors of a safetensors file into these, all of which it has. Errors: invalid, naming file and tensor.
Status load_tensors(const NamedTensors& tensors, const std::string& path);

/// Copies of the parameters, whole (parts gathered: then every worker must call) and contiguous, on this worker.
Result<NamedTensors> whole_parameters(const Model& model, collective::Group* group);
/// A file of them, copied.
Result<checkpoint::FileImage> image_of(checkpoint::ImageMemory& memory, std::string name, const NamedTensors& tensors);
/// Writes parameters and buffers.
Status save(const std::string& path, const NamedTensors& parameters, const NamedTensors& buffers);
/// Of whole parameters.
std::string sha256(const NamedTensors& parameters);

}  // namespace cohaul::train
