#include "cohaul/checkpoint/worker_file.h"

#include <string_view>
#include <vector>

#include "cohaul/checkpoint/folder.h"
#include "cohaul/checkpoint/safetensors.h"

namespace cohaul::checkpoint {
namespace {

// Tensors of bytes: "generator"; "name/0" and "value/0" of the first text, and so on.
constexpr const char *kGenerator = "generator", *kName = "name/", *kValue = "value/";

std::string file_name(int rank) { return kWorkerPrefix + std::to_string(rank) + ".safetensors"; }

TensorView bytes_of(std::string name, const std::string& text) {
  return {std::move(name), TensorType::u8, {static_cast<std::int64_t>(text.size())}, as_bytes(std::string_view(text))};
}

std::string text_of(const TensorView& tensor) {
  return {reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size()};
}

}  // namespace

Result<FileImage> worker_image(ImageMemory& memory, int rank, const WorkerState& state) {
  std::vector<TensorView> tensors{bytes_of(kGenerator, state.generator)};
  for (int i = 0; const auto& [name, value] : state.values) {
    tensors.push_back(bytes_of(kName + std::to_string(i), name));
    tensors.push_back(bytes_of(kValue + std::to_string(i), value));
    ++i;
  }
  return make_image(memory, file_name(rank), tensors);
}

Result<WorkerState> read_worker(const std::string& checkpoint, int rank) {
  const std::string path = checkpoint + "/" + file_name(rank);
  COHAUL_ASSIGN(const TensorFile file, read(path));
  const TensorView* generator = file.find(kGenerator);
  if (generator == nullptr) return invalid(path + ": has no random generator, so no worker wrote it");
  WorkerState state;
  state.generator = text_of(*generator);
  for (int i = 0; const TensorView* name = file.find(kName + std::to_string(i)); ++i) {
    const TensorView* value = file.find(kValue + std::to_string(i));
    if (value == nullptr) return invalid(path + ": the value of " + text_of(*name) + " is missing");
    state.values.emplace(text_of(*name), text_of(*value));
  }
  return state;
}

}  // namespace cohaul::checkpoint
