#include "cohaul/train/telling.h"

#include <algorithm>

#include "cohaul/train/report.h"
#include "cohaul/update/gradient_squares.h"

namespace cohaul::train {

void Telling::begin_loop(const SampleLoop& loop) {
  times_ = {};
  times_.steps.reserve(static_cast<std::size_t>(std::min<std::int64_t>(loop.options().steps, 1 << 20)));
  times_.began = last_end_ = told_at_ = steady_clock().now();
  batch_ = loop.options().batch;
  waited_ = job_.waited();
  told_ = loop.start();
}

void Telling::end_loop(std::int64_t updates) {
  times_.ended = steady_clock().now();
  times_.samples = updates * batch_;
}

void Telling::step_done(const update::StepOutcome& outcome, std::optional<double> lr) {
  lr_ = lr;
  skipped_ += outcome.skipped;
  gradient_norm_ = outcome.gradient_norm;
  const Time now = steady_clock().now();
  times_.steps.push_back(now - last_end_);
  last_end_ = now;
}

/// Returns which fraction of the time since the last report this worker has waited for others.
double Telling::waiting(Time now) const {
  if (now <= told_at_) return 0;
  return std::min(1.0, static_cast<double>(job_.waited() - waited_) / static_cast<double>(now - told_at_));
}

void Telling::tell(const strategy::ReportedUpdate& update, const SampleLoop& loop, bool asynchronous) {
  const auto per_second = [&](std::int64_t updates, Duration time) {
    return time > 0 ? static_cast<double>(updates * batch_) * 1e9 / static_cast<double>(time) : 0;
  };
  const Time now = steady_clock().now();
  observe::Event out{"step",
                     {{"step", update.number},
                      {"loss", update.loss},
                      {"samples_per_s", per_second(update.number - told_, update.elapsed)}}};
  if (asynchronous) add_asynchrony(out, update.asynchrony);
  if (job_.world() > 1) out.add("waiting", waiting(now));
  if (lr_) out.add("lr", *lr_);
  if (gradient_norm_) out.add("gradient_norm", *gradient_norm_);
  out.add("skipped", skipped_);
  const double overall = per_second(update.number - loop.start(), now - times_.began);
  out.add("seconds_left", overall > 0 ? static_cast<double>((loop.last() - update.number) * batch_) / overall : 0);
  told_ = update.number;
  told_at_ = now;
  waited_ = job_.waited();
  tell(out);
}

void Telling::tell_gradients(std::int64_t update, const update::Layout& layout, std::span<const double> norms) {
  observe::Figures figures;
  for (std::size_t p = 0; p < norms.size(); ++p)
    if (norms[p] != update::kNoGradient) figures.emplace_back(layout.parameters()[p].name, norms[p]);
  tell({"gradients", {{"step", update}, {"norm", std::move(figures)}}});
}

}  // namespace cohaul::train
