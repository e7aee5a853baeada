#include "cohaul/observe/csv.h"

#include <cmath>

#include "cohaul/base/digits.h"

namespace cohaul::observe {
namespace {

constexpr std::string_view kOfEvaluation = "evaluation_";

/// Without a sign where it is not a number.
std::string digits(double v) { return std::isnan(v) ? "nan" : digits_of(v); }

std::string line_of(const std::vector<std::string>& cells) {
  std::string out;
  for (const std::string& cell : cells) out += (out.empty() ? "" : ",") + cell;
  return out + "\n";
}

/// The event's figure in a column: of an evaluation without the column's prefix.
std::optional<double> figure(const Event& event, std::string_view column) {
  if (column == "step") return event.number(column);
  if (event.kind == "step") return event.number(column);
  return column.starts_with(kOfEvaluation) ? event.number(column.substr(kOfEvaluation.size())) : std::nullopt;
}

}  // namespace

std::string csv_cell(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + "\"";
}

Csv::Csv(Output output, const std::vector<std::string>& metrics) : output_(std::move(output)), columns_{"step"} {
  columns_.insert(columns_.end(), std::begin(kStepFigures), std::end(kStepFigures));
  columns_.push_back(std::string(kOfEvaluation) + "loss");
  for (const std::string& name : metrics) columns_.push_back(std::string(kOfEvaluation) + name);
  std::vector<std::string> heads;
  for (const std::string& column : columns_) heads.push_back(csv_cell(column));
  output_.write(line_of(heads));
}

Result<Csv> Csv::create(const std::string& path, const std::vector<std::string>& metrics) {
  COHAUL_ASSIGN(Output output, Output::create("--csv", path));
  return Csv(std::move(output), metrics);
}

void Csv::write(const Event& event) {
  if (event.kind != "step" && event.kind != "evaluation") return;
  std::vector<std::string> cells;
  for (const std::string& column : columns_) {
    const std::optional<double> v = figure(event, column);
    cells.push_back(v ? digits(*v) : "");
  }
  output_.write(line_of(cells));
}

}  // namespace cohaul::observe
