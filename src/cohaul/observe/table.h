#pragma once
// Aligned text tables.

#include <string>
#include <vector>

namespace cohaul::observe {

/// Columns of numbers (every cell is one, such as "31,200", "-1.9e-07", "12 %", "2x", or is "-" or empty) stand right,
/// others left.
class Table {
 public:
  explicit Table(std::vector<std::string> heads) : heads_(std::move(heads)) {}
  /// Missing cells are empty, more than heads are dropped.
  void row(std::vector<std::string> cells);
  /// Heads, a rule, the rows; each line ends with a newline, none with spaces.
  std::string text() const;

 private:
  std::vector<std::string> heads_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace cohaul::observe
