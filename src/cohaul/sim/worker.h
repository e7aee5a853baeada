#pragma once
// A worker's process: the real session, used as in ps/client.cpp, with a stub in place of the model. Its gradients are a pure function of problem,
// step and slice.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cohaul/base/random.h"
#include "cohaul/ps/outgoing.h"
#include "cohaul/ps/session.h"
#include "cohaul/sim/process.h"
#include "cohaul/sim/saving.h"
#include "cohaul/sim/witness.h"
#include "cohaul/transport/arena.h"

namespace cohaul::sim {

class Worker final : public Process, ps::ToServers {
 public:
  Worker(const Scenario& scenario, const update::Layout& layout, const ps::Init& init, std::int32_t rank, Heart heart,
         Witness& witness, Saving& saving);
  /// Adds the connections to servers 0, 1, …, in this order.
  void connected(std::unique_ptr<transport::Channel> channel);

  /// Returns whether it has the initial parameters.
  bool has_begun() const { return phase_ != Phase::joining && phase_ != Phase::starting; }
  std::span<const double> parameters() const { return parameters_; }
  std::string waits_for() const override { return session_.missing(); }
  void slow_down(Duration by) override { slower_ = by; }

 private:
  enum class Phase : std::uint8_t {
    joining,
    starting,
    asking,
    computing,
    finishing,
    leaving_loop,
    meeting,
    saving,
    leaving,
    done
  };
  struct Link {
    std::unique_ptr<transport::Channel> channel;
    std::unique_ptr<ps::Outgoing> outgoing;
  };
  struct Said {  // a push of this step
    ServerRank to;
    transport::Message message;
    std::vector<std::byte> body;
  };
  void work(Time now) override;
  Time next_work() const override {
    return std::min(phase_ == Phase::computing ? computed_at_ : kForever, written_at_);
  }
  bool is_computing(Time now) const override { return phase_ == Phase::computing && now < computed_at_; }
  bool is_finished() const override { return phase_ == Phase::done && written_at_ == kForever && !commits_; }
  void meet_or_save(Time now);
  void write(Time now);
  std::vector<std::unique_ptr<transport::Channel>*> links() override;
  void send(ServerRank to, const transport::Message& message) override;
  Status receive();
  Result<bool> flush();
  void advance(Time now);
  void ask();
  bool is_time_to_leave() const;
  Status leave_loop();
  bool end_loop();
  void compute(Step step, Time now);
  void compute_bucket(Time now);
  void push_bucket();

  const update::Layout& layout_;
  const std::int32_t rank_;
  Witness& witness_;
  Saving& saving_;
  Random random_;
  std::vector<double> parameters_;
  transport::Arena arena_;  // for gradients, part after part
  std::span<double> gradients_;
  ps::Session session_;
  std::vector<Link> links_;  // by server
  Phase phase_ = Phase::joining;
  std::int64_t next_step_ = 0;  // synchronous
  std::int64_t loop_ = 0;
  std::int64_t steps_done_ = 0;  // its own
  update::Work work_;
  std::vector<update::SliceRange> parts_;
  std::size_t buckets_pushed_ = 0;  // over all parts
  std::vector<Said> said_;
  Time computed_at_ = 0;
  Duration slower_ = 0;
  bool has_saved_ = false;
  Time written_at_ = kForever;  // when its own file of a checkpoint will be written
  bool commits_ = false;        // worker 0 will commit the checkpoint when all have written their files
};

}  // namespace cohaul::sim
