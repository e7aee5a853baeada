#include "cohaul/observe/progress.h"

#include <unistd.h>

#include "cohaul/observe/format.h"
#include "cohaul/observe/gradient_lines.h"

namespace cohaul::observe {
namespace {

std::int64_t step_of(const Event& event) { return static_cast<std::int64_t>(event.number("step").value_or(0)); }

std::string evaluation_line(const Event& event) {
  std::string out = "test";
  for (const auto& [name, value] : evaluation_figures(event)) out += "  " + name + " " + significant(value);
  return out;
}

std::vector<std::string> resumed_lines(const Event& event) {
  std::vector<std::string> out;
  const Value* const found = event.find("passed_over");
  if (const auto* const whys = found ? std::get_if<std::vector<std::string>>(found) : nullptr)
    for (const std::string& why : *whys) out.push_back("passed over: " + why);
  out.push_back("goes on after step " + std::to_string(step_of(event)) + ", from " + event.text("path"));
  return out;
}

}  // namespace

std::string step_line(const Event& event, bool styled) {
  const auto figure = [&](const char* name) { return event.number(name); };
  const std::string loss = significant(figure("loss").value_or(0));
  std::string out = "step " + with_commas(step_of(event)) + "  loss " + (styled ? "\x1b[1m" + loss + "\x1b[0m" : loss);
  if (const auto lr = figure("lr")) out += "  lr " + significant(*lr, 3);
  if (const auto norm = figure("gradient_norm")) out += "  norm " + significant(*norm, 3);
  out += "  " + rate(figure("samples_per_s").value_or(0)) + " samples/s";
  if (const auto skipped = figure("skipped"); skipped && *skipped > 0)
    out += "  skipped " + with_commas(static_cast<std::int64_t>(*skipped));
  if (const auto mean = figure("staleness_mean"))
    out +=
        "  staleness " + significant(*mean, 2) + " (max " + significant(figure("staleness_max").value_or(0), 3) + ")";
  if (const auto waiting = figure("waiting")) out += "  waiting " + percent(*waiting);
  if (const auto left = figure("seconds_left")) out += "  " + minutes(*left) + " left";
  return out;
}

std::vector<std::string> progress_lines(const Event& event, bool styled) {
  if (event.kind == "step") return {step_line(event, styled)};
  if (event.kind == "evaluation") return {evaluation_line(event)};
  if (event.kind == "gradients") return gradient_lines(event, styled);
  if (event.kind == "stopped_early")
    return {"stopped after step " + with_commas(step_of(event)) + ": " +
            with_commas(static_cast<std::int64_t>(event.number("evaluations").value_or(0))) +
            " evaluations without a smaller loss than " + significant(event.number("best_loss").value_or(0)) +
            ", of step " + with_commas(static_cast<std::int64_t>(event.number("best_step").value_or(0)))};
  if (event.kind == "resumed") return resumed_lines(event);
  if (const std::string error = event.text("error"); event.kind == "checkpoint" && !error.empty())
    return {"checkpoint after step " + std::to_string(step_of(event)) + " not written: " + error};
  return {};
}

Progress::Progress(int fd, bool quiet) : fd_(fd), quiet_(quiet), styled_(!quiet && isatty(fd) == 1) {}

void Progress::write(const Event& event) {
  if (quiet_) return;
  for (const std::string& line : progress_lines(event, styled_)) say(line);
}

void Progress::say(const std::string& line) const {
  if (quiet_) return;
  const std::string text = line + "\n";
  [[maybe_unused]] const ssize_t ignored = ::write(fd_, text.data(), text.size());
}

}  // namespace cohaul::observe
