#pragma once
// The figures of a run as a table (CSV, RFC 4180), for spreadsheets and data frames.

#include <string>
#include <string_view>
#include <vector>

#include "cohaul/observe/event.h"
#include "cohaul/observe/output.h"

namespace cohaul::observe {

/// Returns a cell's text, in quotes where it holds a comma, a quote or a line's end.
std::string csv_cell(std::string_view text);

/// A row for each step and each evaluation: `step`, a step's figures (kStepFigures), an evaluation's `evaluation_loss` and
/// `evaluation_NAME` for each metric, and where gradients are watched a row for each such step, with `gradient_NAME` for each parameter. The first line names the columns; all rows have all of them, and a cell is empty where the row has no such
/// figure. Lines end with a newline; doubles have all their digits, or are nan, inf, -inf. Each row is one write.
class Csv final : public Sink {
 public:
  /// Makes the file anew, with its first line; "-": stdout. metrics: names of the evaluations' metrics; watched: of the parameters whose gradients
  /// are watched; others are left out. invalid: it cannot be written; names --csv and the path.
  static Result<Csv> create(const std::string& path, const std::vector<std::string>& metrics = {},
                            const std::vector<std::string>& watched = {});
  /// Adds rows to a table that was created with the same columns, for a run that goes on.
  static Result<Csv> append(const std::string& path, const std::vector<std::string>& metrics = {},
                            const std::vector<std::string>& watched = {});

  void write(const Event& event) override;
  Status status() const override { return output_.status(); }

 private:
  Csv(Output output, const std::vector<std::string>& metrics, const std::vector<std::string>& watched);
  void write_columns();
  Output output_;
  std::vector<std::string> columns_;
  bool watches_;  // there are columns of gradients
};

}  // namespace cohaul::observe
