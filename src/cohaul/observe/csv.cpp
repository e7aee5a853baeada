#include "cohaul/observe/csv.h"

#include <cmath>
#include <functional>
#include <map>

#include "cohaul/base/digits.h"

namespace cohaul::observe {
namespace {

constexpr std::string_view kOfEvaluation = "evaluation_", kOfGradients = "gradient_";

/// Without a sign where it is not a number.
std::string digits(double v) { return std::isnan(v) ? "nan" : digits_of(v); }

std::string line_of(const std::vector<std::string>& cells) {
  std::string out;
  for (const std::string& cell : cells) out += (out.empty() ? "" : ",") + cell;
  return out + "\n";
}

/// The event's figures by column.
std::map<std::string, double, std::less<>> figures(const Event& event) {
  std::map<std::string, double, std::less<>> out;
  const auto add = [&](std::string_view column) {
    if (const auto v = event.number(column)) out.emplace(column, *v);
  };
  add("step");
  for (const std::string_view name : kStepFigures)
    if (event.kind == "step") add(name);
  if (event.kind == "evaluation")
    for (const auto& [name, v] : evaluation_figures(event)) out.emplace(std::string(kOfEvaluation) + name, v);
  for (const auto& [name, v] : gradient_norms(event)) out.emplace(std::string(kOfGradients) + name, v);
  return out;
}

}  // namespace

std::string csv_cell(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + "\"";
}

Csv::Csv(Output output, const std::vector<std::string>& metrics, const std::vector<std::string>& watched)
    : output_(std::move(output)), columns_{"step"}, watches_(!watched.empty()) {
  columns_.insert(columns_.end(), std::begin(kStepFigures), std::end(kStepFigures));
  columns_.push_back(std::string(kOfEvaluation) + "loss");
  for (const std::string& name : metrics) columns_.push_back(std::string(kOfEvaluation) + name);
  for (const std::string& name : watched) columns_.push_back(std::string(kOfGradients) + name);
}

void Csv::write_columns() {
  std::vector<std::string> heads;
  for (const std::string& column : columns_) heads.push_back(csv_cell(column));
  output_.write(line_of(heads));
}

Result<Csv> Csv::create(const std::string& path, const std::vector<std::string>& metrics,
                        const std::vector<std::string>& watched) {
  COHAUL_ASSIGN(Output output, Output::create("--csv", path));
  Csv table(std::move(output), metrics, watched);
  table.write_columns();
  return table;
}

Result<Csv> Csv::append(const std::string& path, const std::vector<std::string>& metrics,
                        const std::vector<std::string>& watched) {
  COHAUL_ASSIGN(Output output, Output::append("--csv", path));
  return Csv(std::move(output), metrics, watched);
}

void Csv::write(const Event& event) {
  if (event.kind != "step" && event.kind != "evaluation" && !(watches_ && event.kind == "gradients")) return;
  const auto row = figures(event);
  std::vector<std::string> cells;
  for (const std::string& column : columns_) {
    const auto v = row.find(column);
    cells.push_back(v != row.end() ? digits(v->second) : "");
  }
  output_.write(line_of(cells));
}

}  // namespace cohaul::observe
