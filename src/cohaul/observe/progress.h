#pragma once
// The lines that show people how a run goes on.

#include <string>

#include "cohaul/observe/event.h"

namespace cohaul::observe {

/// Returns the line of an event "step": "step 300  loss 0.88  lr 0.01  norm 1.2  31,200 samples/s  skipped 2
/// staleness 1.8 (max 3)  waiting 12 %  0:02 left". styled: for a terminal, the loss in bold.
std::string step_line(const Event& event, bool styled = false);
/// Returns the lines of an event, without their newlines: of a step, an evaluation, the gradients' norms
/// (gradient_lines.h), a run that goes on, a checkpoint that could not be written. Other events have none.
std::vector<std::string> progress_lines(const Event& event, bool styled = false);

/// Writes lines to a file descriptor (2: stderr), styled if that is a terminal. Does not own it. A full or closed descriptor is ignored:
/// training does not stop for its progress.
class Progress final : public Sink {
 public:
  explicit Progress(int fd, bool quiet = false);
  void write(const Event& event) override;
  /// Writes a line as it is.
  void say(const std::string& line) const;

 private:
  int fd_;
  bool quiet_, styled_;
};

}  // namespace cohaul::observe
