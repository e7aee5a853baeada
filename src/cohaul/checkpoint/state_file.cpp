#include "cohaul/checkpoint/state_file.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "cohaul/checkpoint/folder.h"

namespace cohaul::checkpoint {
namespace {

// A tensor is called "what/first/parameter": "values/0/fc.weight", "state0/4096/fc.weight", "count/0/fc.weight".
constexpr std::string_view kValues = "values", kCount = "count", kState = "state", kAverage = "average";

std::string tensor_name(std::string_view what, std::uint64_t first, const std::string& parameter) {
  return std::string(what) + "/" + std::to_string(first) + "/" + parameter;
}

TensorType type_of(DType dtype) { return dtype == DType::float32 ? TensorType::f32 : TensorType::f64; }

struct Parts {
  std::string_view what, parameter;
  std::uint64_t first = 0;
};

std::optional<Parts> parts_of(std::string_view name) {
  const std::size_t a = name.find('/'), b = name.find('/', a + 1);
  if (a == std::string_view::npos || b == std::string_view::npos) return std::nullopt;
  Parts p{name.substr(0, a), name.substr(b + 1), 0};
  const std::string digits(name.substr(a + 1, b - a - 1));
  if (digits.empty() || digits.size() > 15 || digits.find_first_not_of("0123456789") != std::string::npos)
    return std::nullopt;
  p.first = std::stoull(digits);
  return p;
}

}  // namespace

Result<FileImage> state_image(ImageMemory& memory, std::string name, const update::Layout& layout,
                              std::span<const update::StatePiece> pieces) {
  std::vector<TensorView> tensors;
  for (const update::StatePiece& p : pieces) {
    const std::string& parameter = layout.parameters()[static_cast<std::size_t>(p.parameter)].name;
    const auto n = static_cast<std::int64_t>(p.elements);
    const TensorType type = type_of(p.dtype);
    tensors.push_back({tensor_name(kValues, p.first, parameter), type, {n}, p.values});
    for (int k = 0; k < p.states_used; ++k)
      tensors.push_back({tensor_name(std::string(kState) + std::to_string(k), p.first, parameter),
                         type,
                         {n},
                         p.states[static_cast<std::size_t>(k)]});
    if (p.has_average != nullptr && *p.has_average)
      tensors.push_back({tensor_name(kAverage, p.first, parameter), type, {n}, p.average});
    tensors.push_back({tensor_name(kCount, p.first, parameter),
                       TensorType::i64,
                       {1},
                       as_bytes(std::span<const std::int64_t>(p.count, 1))});
  }
  return make_image(memory, std::move(name), tensors);
}

Status SavedState::add(const std::string& path) {
  COHAUL_ASSIGN(TensorFile file, read(path));
  COHAUL_TRY(take(file).context(path));
  files_.push_back(std::move(file));
  return {};
}

Status SavedState::take(const TensorFile& file) {
  std::unordered_map<std::string_view, const TensorView*> by_name;
  for (const TensorView& t : file.tensors()) by_name.emplace(t.name, &t);
  const auto find = [&](const std::string& name) {
    const auto it = by_name.find(name);
    return it == by_name.end() ? nullptr : it->second;
  };
  for (const TensorView& t : file.tensors()) {
    const std::optional<Parts> parts = parts_of(t.name);
    if (!parts || t.shape.size() != 1) return invalid("tensor " + t.name + " is none that a checkpoint has");
    if (parts->what != kValues) continue;
    Saved saved{
        .first = parts->first, .elements = static_cast<std::uint64_t>(t.shape[0]), .type = t.type, .values = t.data};
    const std::string parameter(parts->parameter);
    const TensorView* count = find(tensor_name(kCount, saved.first, parameter));
    if (count == nullptr || count->type != TensorType::i64 || count->data.size() != sizeof saved.count)
      return invalid("tensor " + t.name + " has no count beside it");
    std::memcpy(&saved.count, count->data.data(), sizeof saved.count);
    for (int k = 0; k < update::kStatesMax; ++k) {
      const TensorView* state = find(tensor_name(std::string(kState) + std::to_string(k), saved.first, parameter));
      if (state == nullptr) break;
      if (state->type != t.type || state->shape != t.shape)
        return invalid("tensor " + state->name + " has another size or type than the values");
      saved.states.push_back(state->data);
    }
    if (const TensorView* average = find(tensor_name(kAverage, saved.first, parameter)); average != nullptr) {
      if (average->type != t.type || average->shape != t.shape)
        return invalid("tensor " + average->name + " has another size or type than the values");
      saved.average = average->data;
    }
    std::vector<Saved>& all = pieces_[parameter];
    all.insert(std::ranges::upper_bound(all, saved.first, {}, &Saved::first), std::move(saved));
  }
  return {};
}

Status SavedState::read_values(const std::string& parameter, DType dtype, std::uint64_t first, Bytes values) const {
  update::StatePiece whole;
  whole.first = first;
  whole.elements = values.size() / size_of(dtype);
  whole.dtype = dtype;
  whole.values = values;
  return read_piece(parameter, whole, false);
}

Status SavedState::read_piece(const std::string& parameter, const update::StatePiece& piece, bool with_state) const {
  if (piece.elements == 0) return {};
  const auto it = pieces_.find(parameter);
  if (it == pieces_.end()) return invalid("parameter " + parameter + " is not in the checkpoint");
  const std::size_t size = size_of(piece.dtype);
  std::uint64_t at = piece.first;
  const std::uint64_t end = piece.first + piece.elements;
  for (const Saved& s : it->second) {
    if (at == end || at < s.first || at >= s.first + s.elements) continue;
    if (s.type != type_of(piece.dtype))
      return invalid("parameter " + parameter + " has another type in the checkpoint");
    if (with_state && s.states.size() != static_cast<std::size_t>(piece.states_used))
      return invalid("parameter " + parameter + " has " + std::to_string(s.states.size()) +
                     " arrays of optimizer state in the checkpoint, its rule here has " +
                     std::to_string(piece.states_used) + ": use the settings that it was trained with");
    const std::uint64_t n = std::min(end, s.first + s.elements) - at;
    const auto copy = [&](Bytes to, ConstBytes from) {
      if (n > 0) std::memcpy(to.data() + (at - piece.first) * size, from.data() + (at - s.first) * size, n * size);
    };
    copy(piece.values, s.values);
    for (std::size_t k = 0; with_state && k < s.states.size(); ++k) copy(piece.states[k], s.states[k]);
    if (with_state) *piece.count = s.count;
    if (with_state && !piece.average.empty() && !s.average.empty()) {
      copy(piece.average, s.average);
      *piece.has_average = true;
    }
    at += n;
  }
  if (at < end)
    return invalid("elements " + std::to_string(at) + " to " + std::to_string(end) + " of parameter " + parameter +
                   " are in no file of the checkpoint");
  return {};
}

Result<SavedState> SavedState::open(const std::string& checkpoint) {
  COHAUL_ASSIGN(const Manifest manifest, read_manifest(checkpoint));
  SavedState saved;
  for (const FileEntry& f : manifest.files)
    if (f.name.starts_with(kOwnerPrefix)) COHAUL_TRY(saved.add(checkpoint + "/" + f.name));
  return saved;
}

Status restore(const std::string& checkpoint, const update::Layout& layout,
               std::span<const update::StatePiece> pieces) {
  COHAUL_ASSIGN(const SavedState saved, SavedState::open(checkpoint));
  for (const update::StatePiece& p : pieces)
    COHAUL_TRY(saved.restore(layout.parameters()[static_cast<std::size_t>(p.parameter)].name, p));
  return {};
}

}  // namespace cohaul::checkpoint
