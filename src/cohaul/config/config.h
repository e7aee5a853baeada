#pragma once
// Config: the keys of a job, known, checked and with their defaults. The command makes it once, and hands it to every
// process as text.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cohaul/base/check.h"
#include "cohaul/base/status.h"
#include "cohaul/config/job_file.h"

namespace cohaul::config {

class Config {
 public:
  Config() = default;
  /// file: the job file, named where a key without a value is wrong.
  explicit Config(Entries entries, std::string file = {}) : entries_(std::move(entries)), file_(std::move(file)) {}

  bool has(std::string_view key) const { return entries_.contains(key); }
  /// Returns whether the user has set the key. A default is not set by the user.
  bool set_by_user(std::string_view key) const;

  /// Returns the key's value. T: std::int64_t, double, bool or std::string; an integer may be read as a double.
  /// Aborts where the key has no value of that type: ask only for keys with a default, required ones, or those that
  /// has() knows.
  template <class T>
  T get(std::string_view key) const {
    std::optional<T> v = find<T>(key);
    COHAUL_CHECK(v.has_value(), "a key is asked for that has no value of this type");
    return *std::move(v);
  }
  /// Returns nothing where the key has no value, or one of another type.
  template <class T>
  std::optional<T> find(std::string_view key) const {
    auto it = entries_.find(key);
    if (it == entries_.end()) return std::nullopt;
    if (const T* v = std::get_if<T>(&it->second.value)) return *v;
    if constexpr (std::is_same_v<T, double>)
      if (const auto* i = std::get_if<std::int64_t>(&it->second.value)) return static_cast<double>(*i);
    return std::nullopt;
  }
  template <class T>
  T get_or(std::string_view key, T otherwise) const {
    return find<T>(key).value_or(std::move(otherwise));
  }

  const Entries& entries() const { return entries_; }
  void set(std::string key, Value value, Location where = {}) {
    entries_.insert_or_assign(std::move(key), Entry{std::move(value), std::move(where)});
  }

  /// Returns where the value was set: "jobs/softmax.toml:7", "--set", "default".
  std::string where(std::string_view key) const;
  /// Returns the error invalid: "jobs/softmax.toml:7: train.slices = 200: message"; for a key without a value
  /// "jobs/softmax.toml: train.slices: message".
  Status mistake(std::string_view key, std::string_view message) const;

  /// Returns the folder that the job goes on from, if there is a checkpoint in it; nothing where it starts anew.
  std::optional<std::string> resumes_from() const;

  /// Returns the values alone, as a JSON object of sections, for the record.
  std::string job_json() const;
  /// Returns the values with their places, as text for decode().
  std::string encode() const;
  /// Errors: corrupt (not what encode() wrote).
  static Result<Config> decode(std::string_view text);

 private:
  Entries entries_;
  std::string file_;
};

}  // namespace cohaul::config
