#include "cohaul/config/job_file.h"

#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

namespace cohaul::config {
namespace {

namespace fs = std::filesystem;
constexpr std::uintmax_t kFileBytesMax = 1 << 20;

std::string absolute(const fs::path& folder, const std::string& path) {
  std::error_code ignored;
  return fs::absolute(fs::path(path).is_absolute() ? fs::path(path) : folder / path, ignored)
      .lexically_normal()
      .string();
}

std::optional<Value> value_of(const toml::node& node) {
  if (auto* v = node.as_integer()) return Value(v->get());
  if (auto* v = node.as_floating_point()) return Value(v->get());
  if (auto* v = node.as_boolean()) return Value(v->get());
  if (auto* v = node.as_string()) return Value(v->get());
  return std::nullopt;
}

/// The value as the key's type, where it has or safely becomes that type (1 is a number, 1.0 is no integer).
std::optional<Value> as_type(const Value& value, Type type) {
  switch (type) {
    case Type::integer:
      return std::holds_alternative<std::int64_t>(value) ? std::optional(value) : std::nullopt;
    case Type::boolean:
      return std::holds_alternative<bool>(value) ? std::optional(value) : std::nullopt;
    case Type::real:
      if (auto* i = std::get_if<std::int64_t>(&value)) return Value(static_cast<double>(*i));
      return std::holds_alternative<double>(value) ? std::optional(value) : std::nullopt;
    case Type::string:
    case Type::path:
      return std::holds_alternative<std::string>(value) ? std::optional(value) : std::nullopt;
  }
  return std::nullopt;
}

template <class T>
std::optional<T> number(std::string_view text) {
  T v{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return v;
}

/// Unquoted text as a type; nothing where it is not one.
std::optional<Value> read_as(std::string_view text, Type type) {
  switch (type) {
    case Type::integer:
      if (auto v = number<std::int64_t>(text)) return Value(*v);
      return std::nullopt;
    case Type::real:
      if (auto v = number<double>(text)) return Value(*v);
      return std::nullopt;
    case Type::boolean:
      if (text == "true" || text == "false") return Value(text == "true");
      return std::nullopt;
    case Type::string:
    case Type::path:
      return Value(std::string(text));
  }
  return std::nullopt;
}

/// Unquoted text of a key without a type: the first of integer, number, boolean, text that it is.
Value read_as_any(std::string_view text) {
  for (Type type : {Type::integer, Type::real, Type::boolean})
    if (auto v = read_as(text, type)) return *v;
  return std::string(text);
}

bool is_free(std::string_view key, const ReadOptions& options) {
  return options.free_model_keys && key.starts_with("model.");
}

/// Checks the value and stores it.
Status put(Entries& entries, const KeySpec& spec, Value value, Location where, const fs::path& folder) {
  Entry entry{std::move(value), std::move(where)};
  if (Status s = check_value(spec, entry.value); !s.ok()) return mistake(spec.key, entry, s.message());
  if (spec.type == Type::path) entry.value = absolute(folder, std::get<std::string>(entry.value));
  entries.insert_or_assign(spec.key, std::move(entry));
  return {};
}

Status put_free(Entries& entries, const std::string& key, Entry entry) {
  if (auto* v = std::get_if<double>(&entry.value); v && !std::isfinite(*v))
    return mistake(key, entry, "must be finite");
  entries.insert_or_assign(key, std::move(entry));
  return {};
}

class FileReader {
 public:
  FileReader(const std::string& file, const Schema& schema, const ReadOptions& options)
      : file_(file), folder_(fs::path(file).parent_path()), schema_(schema), options_(options) {}

  Result<Entries> read(std::string_view text) {
    const toml::parse_result parsed = toml::parse(text, file_);
    if (!parsed) {
      const auto& e = parsed.error();
      return invalid(at(e.source()) + ": not TOML: " + std::string(e.description()));
    }
    for (auto&& [section, node] : parsed.table()) {
      const toml::table* keys = node.as_table();
      if (!keys) {
        return invalid(at(section.source()) + ": " + std::string(section.str()) + " stands in no section; " +
                       schema_.unknown("", section.str()));
      }
      if (schema_.names_in(section.str()).empty())
        return invalid(at(section.source()) + ": " + schema_.unknown_section(section.str()));
      for (auto&& [key, value] : *keys)
        COHAUL_TRY(add(std::string(section.str()) + "." + std::string(key.str()), section.str(), key, value));
    }
    return std::move(entries_);
  }

 private:
  std::string at(const toml::source_region& source) const { return place(source).text(); }
  Location place(const toml::source_region& source) const { return {file_, static_cast<int>(source.begin.line)}; }

  Status add(const std::string& key, std::string_view section, const toml::key& toml_key, const toml::node& node) {
    const Location where = place(toml_key.source());
    const KeySpec* spec = schema_.find(key);
    if (!spec && !is_free(key, options_))
      return invalid(where.text() + ": " + key + ": " + schema_.unknown(section, toml_key.str()));
    const std::optional<Value> value = value_of(node);
    if (!value)
      return invalid(where.text() + ": " + key + ": must be " +
                     std::string(spec ? name(spec->type) : "a number or a text") + ", not a list, table or date");
    if (!spec) return put_free(entries_, key, {*value, where});
    const std::optional<Value> typed = as_type(*value, spec->type);
    if (!typed) return mistake(key, {*value, where}, "must be " + std::string(name(spec->type)));
    return put(entries_, *spec, *typed, where, folder_);
  }

  const std::string& file_;
  const fs::path folder_;
  const Schema& schema_;
  const ReadOptions& options_;
  Entries entries_;
};

}  // namespace

Status mistake(const std::string& key, const Entry& entry, std::string_view message) {
  return invalid(entry.where.text() + ": " + key + " = " + to_text(entry.value) + ": " + std::string(message));
}

Result<Entries> parse_job(std::string_view text, const std::string& file, const Schema& schema,
                          const ReadOptions& options) {
  return FileReader(file, schema, options).read(text);
}

Result<Entries> read_job(const std::string& file, const Schema& schema, const ReadOptions& options) {
  std::error_code error;
  const fs::file_status status = fs::status(file, error);
  if (!fs::exists(status))
    return invalid("no job file " + file + "; give the path of a TOML file, such as jobs/softmax.toml");
  if (!fs::is_regular_file(status)) return invalid("job file " + file + " is not a file; give the path of a TOML file");
  if (fs::file_size(file, error) > kFileBytesMax || error)
    return invalid("job file " + file + " is larger than 1 MB; is it a job file?");
  std::ifstream in(file, std::ios::binary);
  if (!in) return invalid("job file " + file + " cannot be read; check its permissions");
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  return parse_job(text, file, schema, options);
}

Status apply_set(Entries& entries, std::string_view assignment, const Schema& schema, const ReadOptions& options) {
  const std::string shown = "--set " + std::string(assignment);
  const std::size_t equals = assignment.find('=');
  if (equals == std::string_view::npos) return invalid(shown + ": must be KEY=VALUE, e.g. --set train.batch=100");
  const std::string key(assignment.substr(0, equals));
  const std::string_view text = assignment.substr(equals + 1);
  const std::size_t dot = key.find('.');
  const KeySpec* spec = schema.find(key);
  if (!spec && is_free(key, options)) return put_free(entries, key, {read_as_any(text), {"--set", 0}});
  if (!spec) {
    const std::string section = dot == std::string::npos ? "" : key.substr(0, dot);
    return invalid(shown + ": " + schema.unknown(section, dot == std::string::npos ? key : key.substr(dot + 1)));
  }
  const std::optional<Value> value = read_as(text, spec->type);
  if (!value) return invalid(shown + ": must be " + std::string(name(spec->type)));
  return put(entries, *spec, *value, {"--set", 0}, fs::path());
}

}  // namespace cohaul::config
