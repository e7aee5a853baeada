#pragma once
// Aligned text tables.

#include <string>
#include <vector>

namespace cohaul::observe {

/// Columns of numbers are aligned right, others left. A cell is a number where it is one such as "31,200",
/// "-1.9e-07", "12 %", "2x", or is "-" or empty.
class Table {
 public:
  explicit Table(std::vector<std::string> heads) : heads_(std::move(heads)) {}
  /// Adds a row. Missing cells are empty; cells beyond the heads are dropped.
  void row(std::vector<std::string> cells);
  /// Returns heads, a rule and the rows. Each line ends with a newline, without spaces before it.
  std::string text() const;

 private:
  std::vector<std::string> heads_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace cohaul::observe
