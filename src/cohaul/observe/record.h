#pragma once
// The record of a run: JSON, one object a line, each line one write, so that processes may append to one file and a
// reader sees whole lines at once.

#include <string>
#include <utility>

#include "cohaul/observe/event.h"
#include "cohaul/observe/output.h"

namespace cohaul::observe {

/// Returns the event's line without its newline: the kind as "record", then the values in their order. Doubles that
/// are not finite are null, bytes that are not UTF-8 are replaced.
std::string to_json(const Event& event);

/// Writes every event.
class Record final : public Sink {
 public:
  /// Makes the file anew; "-": stdout. An empty path: nowhere. invalid: it cannot be written; names --record and the path.
  static Result<Record> create(const std::string& path);
  /// Writes at the end of the file, for the second and further writers of a run.
  static Result<Record> append(const std::string& path);

  void write(const Event& event) override { output_.write(to_json(event) + "\n"); }
  Status status() const override { return output_.status(); }

 private:
  explicit Record(Output output) : output_(std::move(output)) {}
  Output output_;
};

}  // namespace cohaul::observe
