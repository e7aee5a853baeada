#pragma once
// The name that a misspelt one was probably meant to be.

#include <span>
#include <string>
#include <string_view>

namespace cohaul::config {

/// Edits (insert, delete, replace, swap of neighbours) that turn a into b, each letter edited once. Case, '-', '_' and
/// ' ' do not count.
int edit_distance(std::string_view a, std::string_view b);

/// The one of `names` nearest to `word`, if it is near enough to be meant (a third of the word's length, at least 1);
/// else empty. Of equally near ones the first.
std::string nearest(std::string_view word, std::span<const std::string> names);

}  // namespace cohaul::config
