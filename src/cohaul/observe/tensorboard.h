#pragma once
// The figures of a run for TensorBoard (event files).

#include <cstdint>
#include <string>

#include "cohaul/base/wall_clock.h"
#include "cohaul/observe/event.h"
#include "cohaul/observe/output.h"

namespace cohaul::observe {

/// Writes an event file: scalars `train/NAME` for each of a step's figures (kStepFigures), `evaluation/loss` and `evaluation/NAME` for
/// each of an evaluation's metrics, `gradients/NAME` for each parameter's norm, over the updates done. Each event is one write, so that TensorBoard shows it at once. Scalars are floats of
/// 32 bits.
class TensorBoard final : public Sink {
 public:
  /// Makes the folder, and in it `events.out.tfevents.TIME.HOST.PID`. clock: tells nanoseconds since 1970; it outlives the sink. invalid: it
  /// cannot be written; names --tensorboard and the folder.
  static Result<TensorBoard> create(const std::string& folder, const std::string& host, std::int64_t pid,
                                    const Clock& clock = wall_clock());

  void write(const Event& event) override;
  Status status() const override { return output_.status(); }

 private:
  TensorBoard(Output output, const Clock& clock);
  double now_s() const;
  Output output_;
  const Clock* clock_;
};

}  // namespace cohaul::observe
