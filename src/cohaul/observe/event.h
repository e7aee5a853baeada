#pragma once
// The events of a run: an event is a kind, and values by name. Sinks write events down, each in its own form. "The
// record" in README.md lists the kinds and the values of each.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "cohaul/base/status.h"

namespace cohaul::observe {

/// A text that is JSON already.
struct Json {
  std::string text;
};

/// Numbers by name, such as one for each parameter.
using Figures = std::vector<std::pair<std::string, double>>;

/// null: not known. A double may be infinite or not a number.
using Value =
    std::variant<std::nullptr_t, bool, std::int64_t, double, std::string, std::vector<std::string>, Figures, Json>;

struct Event {
  std::string kind;                                     // "step", "evaluation", …
  std::vector<std::pair<std::string, Value>> values{};  // in the order in which they are written

  void add(std::string name, Value value);
  /// Returns null where it has no value of this name.
  const Value* find(std::string_view name) const;
  /// Returns an integer or a double; nothing where there is none of this name.
  std::optional<double> number(std::string_view name) const;
  /// Returns an empty text where there is none of this name.
  std::string text(std::string_view name) const;
};

/// The figures that a step may have, in the order of columns.
inline constexpr std::string_view kStepFigures[] = {
    "loss", "lr", "gradient_norm", "skipped", "samples_per_s", "waiting", "staleness_mean", "staleness_max", "gap_max"};

/// Returns the figures of an evaluation: its loss and metrics, by name.
Figures evaluation_figures(const Event& event);
/// Returns the norm of each parameter's gradient, from an event "gradients".
Figures gradient_norms(const Event& event);

/// Takes events and writes them somewhere. One thread.
class Sink {
 public:
  virtual ~Sink() = default;
  /// Writes an event, without the values that this sink has no form for. Blocks as long as the system takes to write.
  virtual void write(const Event& event) = 0;
  /// Returns the first failure, after which nothing is written any more: internal, such as a full disk.
  virtual Status status() const { return {}; }
};

/// Several sinks as one; owns them. A failure of one does not keep the others from writing.
class Sinks final : public Sink {
 public:
  void add(std::unique_ptr<Sink> sink) { sinks_.push_back(std::move(sink)); }
  void write(const Event& event) override;
  Status status() const override;

 private:
  std::vector<std::unique_ptr<Sink>> sinks_;
};

}  // namespace cohaul::observe
