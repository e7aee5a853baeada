#include "cohaul/checkpoint/header.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

namespace cohaul::checkpoint {
namespace {

using Json = nlohmann::json;

constexpr std::string_view kMetadataName = "__metadata__";
constexpr int kDepthMax = 3;  // header → tensor → shape

struct TypeInfo {
  std::string_view name;
  std::size_t size;
};
constexpr std::array<TypeInfo, 10> kTypes{{{"F64", 8},
                                           {"F32", 4},
                                           {"F16", 2},
                                           {"BF16", 2},
                                           {"I64", 8},
                                           {"I32", 4},
                                           {"I16", 2},
                                           {"I8", 1},
                                           {"U8", 1},
                                           {"BOOL", 1}}};

Result<TensorType> type_of(std::string_view name) {
  for (std::size_t i = 0; i < kTypes.size(); ++i)
    if (kTypes[i].name == name) return static_cast<TensorType>(i);
  return invalid("dtype " + std::string(name.substr(0, 20)) + " is not known");
}

/// Returns the bytes of a tensor; invalid where the product does not fit.
Result<std::uint64_t> bytes_of(TensorType type, std::span<const std::int64_t> shape) {
  std::uint64_t n = size_of(type);
  bool none = false, overflow = false;
  for (std::int64_t size : shape) {
    if (size < 0) return invalid("a dim of its shape is negative");
    if (size == 0) none = true;
    else overflow |= __builtin_mul_overflow(n, static_cast<std::uint64_t>(size), &n);
  }
  if (none) return std::uint64_t{0};
  if (overflow) return invalid("its shape has more elements than a file can hold");
  return n;
}

/// Returns how deep braces and brackets nest at most, before the parser spends memory on each level.
int depth_of(std::string_view text) {
  int depth = 0, deepest = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '\\') ++i;
    else if (c == '"') quoted = !quoted;
    else if (!quoted && (c == '{' || c == '[')) deepest = std::max(deepest, ++depth);
    else if (!quoted && (c == '}' || c == ']')) --depth;
  }
  return deepest;
}

/// Refuses repeated keys too, which the parser by itself lets through.
Result<Json> parse_json(std::string_view text) {
  if (depth_of(text) > kDepthMax) return invalid("the header is nested too deeply");
  std::vector<std::unordered_set<std::string>> keys;
  std::string repeated;
  const auto watch = [&](int, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second)
      repeated = value.get<std::string>().substr(0, 200);
    return true;
  };
  Json json = Json::parse(text, watch, /*allow_exceptions=*/false);
  if (!json.is_object()) return invalid("the header is not a JSON object");
  if (!repeated.empty()) return invalid("the name " + repeated + " is there twice");
  return json;
}

Result<std::uint64_t> whole_number(const Json& json) {
  if (!json.is_number_unsigned()) return invalid("a size or offset is not a whole number from 0");
  return json.get<std::uint64_t>();
}

struct Placed {
  TensorView tensor;
  std::uint64_t begin;
};

Result<Placed> parse_tensor(const std::string& name, const Json& json, ConstBytes data) {
  if (!json.is_object() || json.size() != 3 || !json.contains("dtype") || !json.contains("shape") ||
      !json.contains("data_offsets"))
    return invalid("it must have dtype, shape and data_offsets, and nothing else");
  const Json &dtype = json["dtype"], &shape = json["shape"], &offsets = json["data_offsets"];
  if (!dtype.is_string() || !shape.is_array() || !offsets.is_array() || offsets.size() != 2)
    return invalid("its dtype must be text, its shape a list and its data_offsets a list of two");
  Placed placed{.tensor = {.name = name, .type = {}, .shape = {}, .data = {}}, .begin = 0};
  COHAUL_ASSIGN(placed.tensor.type, type_of(dtype.get_ref<const std::string&>()));
  for (const Json& size : shape) {
    COHAUL_ASSIGN(std::uint64_t n, whole_number(size));
    if (n > static_cast<std::uint64_t>(INT64_MAX)) return invalid("a dim of its shape is too large");
    placed.tensor.shape.push_back(static_cast<std::int64_t>(n));
  }
  COHAUL_ASSIGN(placed.begin, whole_number(offsets[0]));
  COHAUL_ASSIGN(const std::uint64_t end, whole_number(offsets[1]));
  COHAUL_ASSIGN(const std::uint64_t bytes, bytes_of(placed.tensor.type, placed.tensor.shape));
  if (placed.begin > end || end > data.size()) return invalid("its data_offsets are outside the file's data");
  if (end - placed.begin != bytes)
    return invalid("its shape needs " + std::to_string(bytes) + " bytes, its data_offsets give " +
                   std::to_string(end - placed.begin));
  placed.tensor.data = data.subspan(placed.begin, bytes);
  return placed;
}

Result<Metadata> parse_metadata(const Json& json) {
  if (!json.is_object()) return invalid("__metadata__ must be a table of texts");
  Metadata metadata;
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string()) return invalid("__metadata__ must be a table of texts");
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

/// Returns the text as JSON, escaped.
Result<std::string> quote(const std::string& text) {
  try {
    return Json(text).dump();
  } catch (const Json::exception&) {
    return invalid("a name or metadata is not UTF-8");
  }
}

std::string describe(const TensorView& t) {
  std::string shape;
  for (std::int64_t size : t.shape) shape += (shape.empty() ? "" : ",") + std::to_string(size);
  return "{\"dtype\":\"" + std::string(name(t.type)) + "\",\"shape\":[" + shape + "],\"data_offsets\":[";
}

}  // namespace

std::string_view name(TensorType type) { return kTypes[static_cast<std::size_t>(type)].name; }
std::size_t size_of(TensorType type) { return kTypes[static_cast<std::size_t>(type)].size; }

Result<Header> parse_header(std::string_view text, ConstBytes data) {
  COHAUL_ASSIGN(const Json json, parse_json(text));
  Header header;
  std::vector<Placed> placed;
  for (const auto& [name, value] : json.items()) {
    if (name == kMetadataName) {
      COHAUL_ASSIGN(header.metadata, parse_metadata(value));
      continue;
    }
    Result<Placed> tensor = parse_tensor(name, value, data);
    if (!tensor.ok()) return tensor.status().context("tensor " + name.substr(0, 200));
    placed.push_back(std::move(tensor).value());
  }
  std::ranges::sort(placed, {}, [](const Placed& p) { return std::pair(p.begin, p.tensor.data.size()); });
  std::uint64_t end = 0;
  for (Placed& p : placed) {
    if (p.begin != end)
      return invalid("tensor " + p.tensor.name + ": its data " +
                     (p.begin < end ? "overlaps another's" : "follows a gap"));
    end += p.tensor.data.size();
    header.tensors.push_back(std::move(p.tensor));
  }
  if (end != data.size()) return invalid(std::to_string(data.size() - end) + " bytes at the end belong to no tensor");
  return header;
}

Result<std::string> make_header(std::span<const TensorView> tensors, const Metadata& metadata) {
  std::string out = "{";
  if (!metadata.empty()) {
    out += "\"" + std::string(kMetadataName) + "\":{";
    const char* separator = "";
    for (const auto& [key, value] : metadata) {
      COHAUL_ASSIGN(const std::string quoted_key, quote(key));
      COHAUL_ASSIGN(const std::string quoted_value, quote(value));
      out += std::exchange(separator, ",") + quoted_key + ":" + quoted_value;
    }
    out += "}";
  }
  std::unordered_set<std::string_view> names{kMetadataName};
  std::uint64_t offset = 0;
  for (const TensorView& t : tensors) {
    if (!names.insert(t.name).second) return invalid("tensor " + t.name + ": the name is reserved or there twice");
    Result<std::uint64_t> bytes = bytes_of(t.type, t.shape);
    if (!bytes.ok()) return bytes.status().context("tensor " + t.name);
    if (*bytes != t.data.size()) return invalid("tensor " + t.name + ": its data is not as long as its shape says");
    COHAUL_ASSIGN(const std::string quoted, quote(t.name));
    out += (out.size() > 1 ? "," : "") + quoted + ":" + describe(t) + std::to_string(offset) + "," +
           std::to_string(offset + *bytes) + "]}";
    offset += *bytes;
  }
  out += "}";
  out.resize((out.size() + 7) / 8 * 8, ' ');
  if (out.size() > kHeaderBytesMax) return invalid("its header has more than 100 MB");
  return out;
}

}  // namespace cohaul::checkpoint
