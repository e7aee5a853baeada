#pragma once
// A model's parameters in safetensors files.

#include <string>

#include "cohaul/base/status.h"
#include "cohaul/train/model.h"

namespace cohaul::train {

/// Copies the tensors of a safetensors file into the model. The file must have every parameter, with its whole shape and its type, and no tensor that
/// the model does not have; buffers may be missing. Errors: invalid, naming file and tensor.
Status load(const Model& model, const std::string& path);

/// Writes parameters and buffers into a safetensors file.
Status save(const std::string& path, const NamedTensors& parameters, const NamedTensors& buffers);
/// Returns the SHA-256 of the whole parameters.
std::string sha256(const NamedTensors& parameters);

}  // namespace cohaul::train
