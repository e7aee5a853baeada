#pragma once
// Keys in words, for `cohaul keys` and the README.

#include <string>
#include <string_view>

#include "cohaul/config/schema.h"

namespace cohaul::config {

/// "sgd, adam or adamw", "an integer, at least 1", "true or false".
std::string values_in_words(const KeySpec& spec);
/// Returns the default as a job file would write it, without quotes. Empty where there is none, or where it depends
/// on other keys (the help then says how).
std::string default_in_words(const KeySpec& spec);
/// "only with strategy.name = parameter_server"; empty: always read.
std::string only_in_words(const KeySpec& spec);

/// Returns whether a pattern names a key: * stands for any text, and a pattern without it names every key that
/// contains it.
bool matches(std::string_view key, std::string_view pattern);

}  // namespace cohaul::config
