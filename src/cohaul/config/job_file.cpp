#include "cohaul/config/job_file.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

// toml++ asserts (with NDEBUG: assumes) conditions that a broken file such as "[ = 1" does not fulfil, and marks
// code as unreachable that U+FEFD reaches. Without these macros its own later checks turn both into errors. The
// fuzzer checks that they do.
#define TOML_EXCEPTIONS 0
#include COHAUL_TOML_PREPROCESSOR  // CMake names the header: 3.3 and 3.4 differ
#undef TOML_ASSERT
#undef TOML_ASSERT_ASSUME
#undef TOML_UNREACHABLE
#define TOML_ASSERT(expr) static_assert(true)
#define TOML_ASSERT_ASSUME(expr) static_assert(true)
#define TOML_UNREACHABLE return false
#include COHAUL_TOML_UNICODE
#undef TOML_UNREACHABLE
#define TOML_UNREACHABLE __builtin_unreachable()
#include <toml++/toml.h>

#include "cohaul/base/limits.h"

namespace cohaul::config {
namespace {

namespace fs = std::filesystem;

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

bool is_list(Type type) { return type == Type::integers || type == Type::strings; }

/// [30, 60] as "30,60"; nothing where it is no list of such items.
std::optional<Value> list_of(const toml::node& node, Type type) {
  const toml::array* list = node.as_array();
  if (!list) return std::nullopt;
  std::string out;
  for (const toml::node& item : *list) {
    const bool fits = type == Type::integers ? item.is_integer() : item.is_string();
    if (!fits) return std::nullopt;
    const std::string text = item.is_integer() ? std::to_string(item.as_integer()->get()) : item.as_string()->get();
    if (text.empty() || text.find(',') != std::string::npos) return std::nullopt;
    out += (out.empty() ? "" : ",") + text;
  }
  return Value(out);
}

/// The value as the key's type, where it has or safely becomes that type (1 is a number, 1.0 is no integer).
std::optional<Value> as_type(const Value& value, Type type) {
  switch (type) {
    case Type::integer: return std::holds_alternative<std::int64_t>(value) ? std::optional(value) : std::nullopt;
    case Type::boolean: return std::holds_alternative<bool>(value) ? std::optional(value) : std::nullopt;
    case Type::real:
      if (auto* i = std::get_if<std::int64_t>(&value)) return Value(static_cast<double>(*i));
      return std::holds_alternative<double>(value) ? std::optional(value) : std::nullopt;
    case Type::string:
    case Type::path: return std::holds_alternative<std::string>(value) ? std::optional(value) : std::nullopt;
    case Type::integers:
    case Type::strings: return std::nullopt;  // a list, which is no single value
    case Type::interval: {
      const auto* text = std::get_if<std::string>(&value);
      const bool fits = text ? seconds_of(*text).has_value() : std::holds_alternative<std::int64_t>(value);
      return fits ? std::optional(value) : std::nullopt;
    }
  }
  return std::nullopt;
}

/// Unquoted text as a type; nothing where it is not one.
std::optional<Value> read_as(std::string_view text, Type type) {
  switch (type) {
    case Type::integer:
      if (auto v = parse_number<std::int64_t>(text)) return Value(*v);
      return std::nullopt;
    case Type::real:
      if (auto v = parse_number<double>(text)) return Value(*v);
      return std::nullopt;
    case Type::boolean:
      if (text == "true" || text == "false") return Value(text == "true");
      return std::nullopt;
    case Type::string:
    case Type::path: return Value(std::string(text));
    case Type::integers:
      if (integers(text)) return Value(std::string(text));
      return std::nullopt;
    case Type::strings:
      if (strings(text)) return Value(std::string(text));
      return std::nullopt;
    case Type::interval:
      if (auto v = parse_number<std::int64_t>(text)) return Value(*v);
      if (seconds_of(text)) return Value(std::string(text));
      return std::nullopt;
  }
  return std::nullopt;
}

/// Returns nothing where there is no such key.
std::optional<KeySpec> spec_of(std::string_view key, const Schema& schema, const ReadOptions& options) {
  if (auto spec = schema.spec_of(key)) return spec;
  if (!options.free_model_keys || !key.starts_with("model.")) return std::nullopt;
  return KeySpec{.key = std::string(key), .help = "a size of the program's own model"};
}

/// Checks the value and stores it.
Status put(Entries& entries, const KeySpec& spec, Value value, Location where, const fs::path& folder) {
  Entry entry{std::move(value), std::move(where)};
  if (Status s = check_value(spec, entry.value); !s.ok()) return mistake(spec.key, entry, s.message());
  if (spec.type == Type::path) entry.value = absolute(folder, std::get<std::string>(entry.value));
  entries.insert_or_assign(spec.key, std::move(entry));
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
    if (node.is_array_of_tables()) return add_tables(key, section, *node.as_array());
    const std::optional<KeySpec> spec = spec_of(key, schema_, options_);
    if (!spec)
      return invalid(where.text() + ": " + key + ": " +
                     schema_.unknown(section, std::string_view(key).substr(section.size() + 1)));
    if (is_list(spec->type)) {
      const std::optional<Value> list = list_of(node, spec->type);
      if (!list) return invalid(where.text() + ": " + key + ": must be " + std::string(name(spec->type)));
      return put(entries_, *spec, *list, where, folder_);
    }
    const std::optional<Value> value = value_of(node);
    if (!value) {
      return invalid(where.text() + ": " + key + ": must be " + std::string(name(spec->type)) +
                     ", not a list, table or date");
    }
    const std::optional<Value> typed = as_type(*value, spec->type);
    if (!typed) return mistake(key, {*value, where}, "must be " + std::string(name(spec->type)));
    return put(entries_, *spec, *typed, where, folder_);
  }

  /// [[optimizer.group]]: the tables' keys are optimizer.group.0.lr and so on.
  Status add_tables(const std::string& key, std::string_view section, const toml::array& tables) {
    int number = 0;
    for (const toml::node& table : tables) {
      for (auto&& [name, value] : *table.as_table())
        COHAUL_TRY(add(key + "." + std::to_string(number) + "." + std::string(name.str()), section, name, value));
      ++number;
    }
    return {};
  }

  const std::string& file_;
  const fs::path folder_;
  const Schema& schema_;
  const ReadOptions& options_;
  Entries entries_;
};

}  // namespace

Status mistake(const std::string& key, const Entry& entry, std::string_view message) {
  // A message about a file often begins with the file's name, which is the value named already.
  if (const auto* text = std::get_if<std::string>(&entry.value); text && message.starts_with(*text + ": "))
    message.remove_prefix(text->size() + 2);
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
  const std::optional<KeySpec> spec = spec_of(key, schema, options);
  if (!spec) {
    const std::string section = dot == std::string::npos ? "" : key.substr(0, dot);
    return invalid(shown + ": " + schema.unknown(section, dot == std::string::npos ? key : key.substr(dot + 1)));
  }
  const std::optional<Value> value = read_as(text, spec->type);
  if (!value) return invalid(shown + ": must be " + std::string(name(spec->type)));
  return put(entries, *spec, *value, {"--set", 0}, fs::path());
}

}  // namespace cohaul::config
