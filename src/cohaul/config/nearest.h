#pragma once
// Finds the name that a misspelt one probably stands for.

#include <span>
#include <string>
#include <string_view>

namespace cohaul::config {

/// Returns how many edits (insert, delete, replace, swap of neighbours) turn a into b, each letter edited once. Case,
/// '-', '_' and ' ' do not count.
int edit_distance(std::string_view a, std::string_view b);

/// Returns the name nearest to `word`, if it differs in at most a third of the word's length (at least 1); else an
/// empty text. Of equally near ones the first.
std::string nearest(std::string_view word, std::span<const std::string> names);

}  // namespace cohaul::config
