#include "cohaul/observe/progress.h"

#include <unistd.h>

#include "cohaul/observe/format.h"

namespace cohaul::observe {

std::string to_line(const Progress& p, bool styled) {
  std::string out = "step " + with_commas(p.step) + "  loss ";
  const std::string loss = significant(p.loss);
  out += styled ? "\x1b[1m" + loss + "\x1b[0m" : loss;
  if (p.lr) out += "  lr " + significant(*p.lr, 3);
  if (p.gradient_norm) out += "  norm " + significant(*p.gradient_norm, 3);
  out += "  " + rate(p.samples_per_s) + " samples/s";
  if (p.skipped > 0) out += "  skipped " + with_commas(p.skipped);
  if (p.staleness)
    out += "  staleness " + significant(p.staleness->mean, 2) + " (max " + significant(p.staleness->max, 3) + ")";
  if (p.waiting) out += "  waiting " + percent(*p.waiting);
  if (p.seconds_left) out += "  " + minutes(*p.seconds_left) + " left";
  return out;
}

ProgressWriter::ProgressWriter(int fd, bool quiet) : fd_(fd), quiet_(quiet), styled_(!quiet && isatty(fd) == 1) {}

void ProgressWriter::show(const Progress& progress) const {
  if (!quiet_) say(to_line(progress, styled_));
}

void ProgressWriter::say(const std::string& line) const {
  if (quiet_) return;
  const std::string text = line + "\n";
  [[maybe_unused]] const ssize_t ignored = write(fd_, text.data(), text.size());
}

}  // namespace cohaul::observe
