#include "cohaul/observe/table.h"

#include <algorithm>

namespace cohaul::observe {
namespace {

bool is_number(const std::string& cell) {
  const bool whole = cell.find_first_not_of("0123456789.,+-e% x") == std::string::npos;
  return cell.empty() || cell == "-" || (whole && cell.find_first_of("0123456789") <= 1);
}

/// Places on the screen: code points of UTF-8.
std::size_t width(const std::string& s) {
  return static_cast<std::size_t>(
      std::ranges::count_if(s, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string pad(const std::string& s, std::size_t to, bool right) {
  const std::string space(to - width(s), ' ');
  return right ? space + s : s + space;
}

}  // namespace

void Table::row(std::vector<std::string> cells) {
  cells.resize(heads_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  const std::size_t n = heads_.size();
  std::vector<std::size_t> widths(n);
  std::vector<bool> right(n, !rows_.empty());
  for (std::size_t c = 0; c < n; ++c) {
    widths[c] = width(heads_[c]);
    for (const auto& row : rows_) {
      widths[c] = std::max(widths[c], width(row[c]));
      right[c] = right[c] && is_number(row[c]);
    }
  }
  std::string out;
  auto line = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (std::size_t c = 0; c < n; ++c) text += (c ? "  " : "") + pad(cells[c], widths[c], right[c]);
    out += text.substr(0, text.find_last_not_of(' ') + 1) + "\n";
  };
  line(heads_);
  std::vector<std::string> rule(n);
  for (std::size_t c = 0; c < n; ++c) rule[c] = std::string(widths[c], '-');
  line(rule);
  for (const auto& row : rows_) line(row);
  return out;
}

}  // namespace cohaul::observe
