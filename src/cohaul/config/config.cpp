#include "cohaul/config/config.h"

#include <nlohmann/json.hpp>

namespace cohaul::config {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const Value& value) {
  return std::visit([](const auto& v) { return Json(v); }, value);
}

std::optional<Value> from_json(const Json& json) {
  if (json.is_boolean()) return Value(json.get<bool>());
  if (json.is_number_integer()) return Value(json.get<std::int64_t>());
  if (json.is_number_float()) return Value(json.get<double>());
  if (json.is_string()) return Value(json.get<std::string>());
  return std::nullopt;
}

// User text may be anything; what is not UTF-8 must not throw.
std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace

bool Config::set_by_user(std::string_view key) const {
  auto it = entries_.find(key);
  return it != entries_.end() && !it->second.where.file.empty();
}

std::string Config::where(std::string_view key) const {
  auto it = entries_.find(key);
  return it == entries_.end() ? Location{}.text() : it->second.where.text();
}

Status Config::mistake(std::string_view key, std::string_view message) const {
  auto it = entries_.find(key);
  if (it == entries_.end())
    return invalid((file_.empty() ? "" : file_ + ": ") + std::string(key) + ": " + std::string(message));
  return config::mistake(it->first, it->second, message);
}

std::optional<std::string> Config::resumes_from() const {
  const std::string resume = get_or("train.resume", std::string("off"));
  if (resume == "off") return std::nullopt;
  return resume == "auto" ? find<std::string>("train.checkpoint") : resume;
}

std::string Config::job_json() const {
  Json out = Json::object();
  for (const auto& [key, entry] : entries_) {
    const std::size_t dot = key.find('.');
    out[key.substr(0, dot)][key.substr(dot + 1)] = to_json(entry.value);
  }
  return dump(out);
}

std::string Config::encode() const {
  Json out = Json::array();
  for (const auto& [key, entry] : entries_)
    out.push_back(Json::array({key, to_json(entry.value), entry.where.file, entry.where.line}));
  return dump(out);
}

Result<Config> Config::decode(std::string_view text) {
  const Json all = Json::parse(text, nullptr, false);
  if (!all.is_array()) return corrupt("a resolved job is not a list");
  Entries entries;
  for (const Json& row : all) {
    if (!row.is_array() || row.size() != 4 || !row[0].is_string() || !row[2].is_string() || !row[3].is_number_integer())
      return corrupt("a resolved job has a row that is not [key, value, file, line]");
    const std::string key = row[0];
    std::optional<Value> value = from_json(row[1]);
    if (!value || key.find('.') == std::string::npos)
      return corrupt("a resolved job has a key without a section or value: " + key);
    entries.insert_or_assign(key, Entry{*std::move(value), {row[2], row[3].get<int>()}});
  }
  return Config(std::move(entries));
}

}  // namespace cohaul::config
