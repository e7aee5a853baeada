#pragma once
// A simulated worker: the real session, with a stub in the place of the model. Its gradients are a pure function of step and slice.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "cohaul/base/random.h"
#include "cohaul/base/status.h"
#include "cohaul/ps/session.h"
#include "cohaul/sim/network.h"
#include "cohaul/sim/scenario.h"

namespace cohaul::sim {

/// The gradient of one run of a step, of these slices. Asynchronous: every element is step + 1, so that sums are exact and any order
/// gives the same; synchronous: random numbers, so that any other order of sums shows.
void fill_gradient(const Scenario& scenario, const update::Run& run, Step step, update::SliceRange slices,
                   std::span<double> out);
double stub_loss(Step step, std::int32_t slice);
/// Summed over slices in tree order.
double stub_loss(Step step, update::SliceRange slices);

class Worker final : ps::ToServers {
 public:
  /// Told when a pull of all partitions is complete, before the worker computes on it or ends.
  using Looked = std::function<void(const Worker&)>;
  Worker(const Scenario& scenario, const update::Layout& layout, const ps::Init& init, std::int32_t rank,
         Network& network, Looked looked);

  void start();
  /// The process dies: it says and hears nothing any more.
  void kill() { dead_ = true; }
  Status on_frame(ServerRank from, transport::Frame frame);

  std::int32_t rank() const { return rank_; }
  bool is_dead() const { return dead_; }
  bool is_finished() const { return phase_ == Phase::done; }
  std::int64_t clock() const { return session_.clock(); }
  std::span<const double> parameters() const { return parameters_; }
  /// Version of each partition as last pulled.
  const std::vector<std::int64_t>& versions() const { return versions_; }
  const update::StepOutcome& outcome() const { return session_.outcome(); }
  std::string missing() const { return session_.missing(); }

 private:
  enum class Phase : std::uint8_t { starting, asking, computing, finishing, done };
  void send(ServerRank to, const transport::Message& message) override;
  bool is_sync() const { return scenario_.consistency.kind == ps::Consistency::Kind::sync; }
  Status advance();
  void compute(Step step);
  void push_next();

  const Scenario& scenario_;
  const update::Layout& layout_;
  const std::int32_t rank_;
  Network& network_;
  const Looked looked_;
  Random random_;
  std::vector<double> parameters_, gradients_;
  std::vector<std::int64_t> versions_;
  ps::Session session_;
  Phase phase_ = Phase::starting;
  bool dead_ = false;
  std::int64_t next_step_ = 0;  // synchronous
  update::Work work_;
  std::size_t runs_pushed_ = 0;
};

}  // namespace cohaul::sim
