#pragma once
// Reading what the user wrote: a TOML file of sections and keys, and --set KEY=VALUE on top. Every value comes out with
// the type that its key has, and with its place.

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "cohaul/base/status.h"
#include "cohaul/config/schema.h"

namespace cohaul::config {

struct Entry {
  Value value;
  Location where;
};
using Entries = std::map<std::string, Entry, std::less<>>;

struct ReadOptions {
  /// Accept model.* keys that the schema does not have: whole numbers for the user's own model.
  bool free_model_keys = false;
};

/// Reads TOML text. file: for messages, and paths in values are relative to its folder (made absolute here).
/// Errors (invalid): broken TOML, unknown sections and keys, wrong types and values; the message names file, line and
/// key.
Result<Entries> parse_job(std::string_view text, const std::string& file, const Schema& schema,
                          const ReadOptions& options);

/// Reads a job from a file. invalid also when it is missing, not a file, or over 1 MB.
Result<Entries> read_job(const std::string& file, const Schema& schema, const ReadOptions& options);

/// Applies "KEY=VALUE": VALUE is read as the key's type, unquoted; paths are relative to the working folder. A later
/// one wins.
Status apply_set(Entries& entries, std::string_view assignment, const Schema& schema, const ReadOptions& options);

/// Returns the error invalid: "where: key = value: message". A message that begins with the value itself loses it
/// there.
Status mistake(const std::string& key, const Entry& entry, std::string_view message);

}  // namespace cohaul::config
