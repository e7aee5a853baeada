#include "cohaul/train/weights.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <cstring>

#include "cohaul/checkpoint/safetensors.h"
#include "cohaul/checkpoint/sha256.h"
#include "cohaul/train/tensor_files.h"

namespace cohaul::train {
namespace {

using checkpoint::TensorType;

Result<TensorType> type_of(const std::string& name, at::ScalarType type) {
  switch (type) {
    case at::kFloat: return TensorType::f32;
    case at::kDouble: return TensorType::f64;
    case at::kHalf: return TensorType::f16;
    case at::kBFloat16: return TensorType::bf16;
    case at::kLong: return TensorType::i64;
    case at::kInt: return TensorType::i32;
    case at::kShort: return TensorType::i16;
    case at::kChar: return TensorType::i8;
    case at::kByte: return TensorType::u8;
    case at::kBool: return TensorType::boolean;
    default:
      return unsupported("tensor " + name + " has the type " + std::string(c10::toString(type)) +
                         ", which safetensors has not");
  }
}

std::string text(at::IntArrayRef shape) {
  std::string out = "[";
  for (std::int64_t d : shape) out += (out.size() > 1 ? ", " : "") + std::to_string(d);
  return out + "]";
}

ConstBytes bytes_of(const at::Tensor& t) { return {static_cast<const std::byte*>(t.const_data_ptr()), t.nbytes()}; }

/// Returns the whole shape of a parameter, of which this worker may have only a part.
std::vector<std::int64_t> whole_shape(const Model& model, const std::string& name, const at::Tensor& tensor) {
  std::vector<std::int64_t> shape = tensor.sizes().vec();
  if (const auto* s = model.split_of(name)) shape[static_cast<std::size_t>(s->dim)] = s->part.whole;
  return shape;
}

Status load_one(const Model& model, const checkpoint::TensorView& from, const std::string& name, const at::Tensor& to,
                const std::string& path) {
  COHAUL_ASSIGN(TensorType type, type_of(name, to.scalar_type()));
  auto shape = whole_shape(model, name, to);
  if (from.type != type || from.shape != shape)
    return invalid(path + ": tensor " + name + " is " + std::string(checkpoint::name(from.type)) + " " +
                   text(from.shape) + ", the model's is " + std::string(checkpoint::name(type)) + " " + text(shape));
  std::size_t first = 0;
  if (const auto* s = model.split_of(name); s && s->part.whole > 0)
    first = from.data.size() / static_cast<std::size_t>(s->part.whole) * static_cast<std::size_t>(s->part.begin);
  at::NoGradGuard no_grad;
  at::Tensor copy = at::empty(to.sizes(), to.options().requires_grad(false));
  if (copy.nbytes() > 0) std::memcpy(copy.mutable_data_ptr(), from.data.data() + first, copy.nbytes());
  to.copy_(copy);
  return {};
}

}  // namespace

Status load(const Model& model, const std::string& path) {
  COHAUL_ASSIGN(checkpoint::TensorFile file, checkpoint::read(path));
  std::size_t used = 0;
  for (const auto& [name, t] : model.parameters) {
    const checkpoint::TensorView* from = file.find(name);
    if (from == nullptr) return invalid(path + ": the model's parameter " + name + " is missing");
    COHAUL_TRY(load_one(model, *from, name, t, path));
    ++used;
  }
  for (const auto& [name, t] : model.buffers)
    if (const checkpoint::TensorView* from = file.find(name)) {
      COHAUL_TRY(load_one(model, *from, name, t, path));
      ++used;
    }
  if (used == file.tensors().size()) return {};
  for (const checkpoint::TensorView& from : file.tensors()) {
    auto has = [&](const NamedTensors& list) {
      for (const auto& [name, t] : list)
        if (name == from.name) return true;
      return false;
    };
    if (!has(model.parameters) && !has(model.buffers))
      return invalid(path + ": tensor " + from.name + " is not the model's");
  }
  return {};
}

Status load_tensors(const NamedTensors& tensors, const std::string& path) {
  COHAUL_ASSIGN(checkpoint::TensorFile file, checkpoint::read(path));
  for (const auto& [name, t] : tensors) {
    const checkpoint::TensorView* from = file.find(name);
    if (from == nullptr) return invalid(path + ": the model's buffer " + name + " is missing");
    COHAUL_TRY(load_one({}, *from, name, t, path));
  }
  return {};
}

Result<NamedTensors> whole_parameters(const Model& model, collective::Group* group) {
  NamedTensors out;
  for (const auto& [name, t] : model.parameters) {
    at::Tensor whole = t.detach().clone(at::MemoryFormat::Contiguous);
    if (const auto* s = model.split_of(name)) {
      if (group == nullptr) return internal("parameter " + name + " is split, but there is no group to gather it from");
      COHAUL_ASSIGN(whole, parallel::gather_whole(whole, s->part, *group));
    }
    out.emplace_back(name, whole);
  }
  return out;
}

namespace {

const checkpoint::Metadata kMetadata = {{"format", "pt"}};

/// Returns views of the tensors. kept: owns the tensors that are viewed.
Result<std::vector<checkpoint::TensorView>> views_of(const NamedTensors& parameters, const NamedTensors& buffers,
                                                     NamedTensors& kept) {
  std::vector<checkpoint::TensorView> views;
  for (const NamedTensors* list : {&parameters, &buffers})
    for (const auto& [name, t] : *list) {
      if (!t.defined()) continue;
      COHAUL_ASSIGN(TensorType type, type_of(name, t.scalar_type()));
      kept.emplace_back(name, t.detach().contiguous());
      views.push_back({name, type, t.sizes().vec(), bytes_of(kept.back().second)});
    }
  return views;
}

}  // namespace

Status save(const std::string& path, const NamedTensors& parameters, const NamedTensors& buffers) {
  NamedTensors kept;
  COHAUL_ASSIGN(const std::vector<checkpoint::TensorView> views, views_of(parameters, buffers, kept));
  return checkpoint::write(path, views, kMetadata);
}

Result<checkpoint::FileImage> image_of(checkpoint::ImageMemory& memory, std::string name, const NamedTensors& tensors) {
  NamedTensors kept;
  COHAUL_ASSIGN(const std::vector<checkpoint::TensorView> views, views_of({}, tensors, kept));
  return checkpoint::make_image(memory, std::move(name), views, kMetadata);
}

std::string sha256(const NamedTensors& parameters) {
  std::vector<checkpoint::TensorView> views;
  for (const auto& [name, t] : parameters) views.push_back({name, TensorType::f32, t.sizes().vec(), bytes_of(t)});
  return checkpoint::parameters_sha256(views);
}

}  // namespace cohaul::train
