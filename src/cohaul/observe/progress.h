#pragma once
// One line a logged step, for people. The caller says what; this says how.

#include <cstdint>
#include <optional>
#include <string>

namespace cohaul::observe {

struct Progress {
  std::int64_t step = 0;  // updates done
  double loss = 0;
  double samples_per_s = 0;
  struct Staleness {
    double mean = 0, max = 0;
  };
  std::optional<Staleness> staleness{};  // asynchronous modes
  std::optional<double> waiting{};       // fraction of the time spent waiting for others
  std::optional<double> lr{};            // learning rate of the step
  std::optional<double> gradient_norm{};
  std::int64_t skipped = 0;  // updates left out so far
  std::optional<double> seconds_left{};
};

/// "step 300  loss 0.88  lr 0.01  norm 1.2  31,200 samples/s  skipped 2  staleness 1.8 (max 3)  waiting 12 %  0:02 left". styled: for a terminal, the
/// loss in bold.
std::string to_line(const Progress& progress, bool styled = false);

/// Writes lines to a file descriptor (2: stderr), styled if that is a terminal. Does not own it.
class ProgressWriter {
 public:
  explicit ProgressWriter(int fd, bool quiet = false);
  /// One write; a full or closed descriptor is ignored: training does not stop for its progress.
  void show(const Progress& progress) const;
  /// A plain line.
  void say(const std::string& line) const;

 private:
  int fd_;
  bool quiet_, styled_;
};

}  // namespace cohaul::observe
