#pragma once
// Config: a job whose every key is known, checked and resolved. Made once by the command, handed to every process as
// text.

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
  /// file: the job file, named where a key is missing.
  explicit Config(Entries entries, std::string file = {}) : entries_(std::move(entries)), file_(std::move(file)) {}

  bool has(std::string_view key) const { return entries_.contains(key); }
  /// Said by the user, not a default.
  bool set_by_user(std::string_view key) const;

  /// T: std::int64_t, double, bool or std::string. The key has a value of that type (an integer also answers to
  /// double); else aborts: ask only for keys with a default, required ones, or those that has() knows.
  template <class T>
  T get(std::string_view key) const {
    std::optional<T> v = find<T>(key);
    COHAUL_CHECK(v.has_value(), "a key is asked for that has no value of this type");
    return *std::move(v);
  }
  /// Nothing where the key has no value, or one of another type.
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

  /// "jobs/softmax.toml:7", "--set", "default".
  std::string where(std::string_view key) const;
  /// invalid: "jobs/softmax.toml:7: train.slices = 200: message"; of a key without a value "jobs/softmax.toml:
  /// train.slices: message".
  Status mistake(std::string_view key, std::string_view message) const;

  /// The folder that the job goes on from, if there is a checkpoint in it; nothing: it starts anew.
  std::optional<std::string> resumes_from() const;

  /// The values alone, as a JSON object of sections: for the record.
  std::string job_json() const;
  /// With the places: what decode() reads.
  std::string encode() const;
  /// corrupt: not what encode() wrote.
  static Result<Config> decode(std::string_view text);

 private:
  Entries entries_;
  std::string file_;
};

}  // namespace cohaul::config
