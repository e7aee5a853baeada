#include "cohaul/observe/tensorboard.h"

#include <filesystem>
#include <utility>

#include "cohaul/observe/event_file.h"

namespace cohaul::observe {
namespace {

Figures scalars_of(const Event& event) {
  Figures out;
  if (event.kind == "step") {
    for (const std::string_view name : kStepFigures)
      if (const auto v = event.number(name)) out.emplace_back("train/" + std::string(name), *v);
  } else if (event.kind == "evaluation") {
    for (const auto& [name, v] : evaluation_figures(event)) out.emplace_back("evaluation/" + name, v);
  }
  for (const auto& [name, norm] : gradient_norms(event)) out.emplace_back("gradients/" + name, norm);
  return out;
}

}  // namespace

TensorBoard::TensorBoard(Output output, const Clock& clock) : output_(std::move(output)), clock_(&clock) {
  output_.write(event_record(file_version_event(now_s())));
}

Result<TensorBoard> TensorBoard::create(const std::string& folder, const std::string& host, std::int64_t pid,
                                        const Clock& clock) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return invalid("--tensorboard " + folder + ": the folder cannot be made: " + error.message());
  const std::string name =
      "events.out.tfevents." + std::to_string(clock.now() / kSecond) + "." + host + "." + std::to_string(pid);
  COHAUL_ASSIGN(Output output, Output::append("--tensorboard", folder + "/" + name));
  return TensorBoard(std::move(output), clock);
}

double TensorBoard::now_s() const { return static_cast<double>(clock_->now()) / 1e9; }

void TensorBoard::write(const Event& event) {
  const auto step = static_cast<std::int64_t>(event.number("step").value_or(0));
  if (event.kind == "resumed") output_.write(event_record(restart_event(now_s(), step + 1)));
  const Figures scalars = scalars_of(event);
  if (!scalars.empty()) output_.write(event_record(scalars_event(now_s(), step, scalars)));
}

}  // namespace cohaul::observe
