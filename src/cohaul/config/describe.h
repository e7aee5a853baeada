#pragma once
// Keys in words, for `cohaul keys` and the README.

#include <string>
#include <string_view>

#include "cohaul/config/schema.h"

namespace cohaul::config {

/// "sgd, adam or adamw", "an integer, at least 1", "true or false".
std::string values_in_words(const KeySpec& spec);
/// The default as a job file would write it, without quotes; empty: there is none, or it depends on other keys (and the help says how).
std::string default_in_words(const KeySpec& spec);
/// "only with strategy.name = parameter_server"; empty: always read.
std::string only_in_words(const KeySpec& spec);

/// Whether a key is meant by a pattern: * stands for any text, and a pattern without it for any key that it is a part of.
bool matches(std::string_view key, std::string_view pattern);

}  // namespace cohaul::config
