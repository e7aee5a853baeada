#include "cohaul/sim/process.h"

#include <algorithm>
#include <utility>

#include "cohaul/sim/scenario.h"

namespace cohaul::sim {

void Process::turn(Time now) {
  if (state_ != State::running || now < stopped_until_) return;
  heart_.turn(now);
  if (const auto& loss = heart_.loss()) {
    bool mine = loss->who == who_, a_worker = loss->who.role == transport::Role::worker;
    if (mine || !goes_on_ || !a_worker) {
      failure_ = loss->status();
      return end(State::failed);
    }
  }
  if (heart_.assembled() && !is_finished()) work(now);
  if (state_ != State::running || !is_finished()) return;
  heart_.leave();
  if (heart_.left()) end(State::done);
}

Time Process::next_time() const {
  if (state_ != State::running) return kForever;
  return std::max(stopped_until_, std::min(heart_.next_time(), heart_.assembled() ? next_work() : kForever));
}

transport::Channel* Process::road(std::int32_t peer) {
  return peer == Fault::kLauncher ? heart_.channel() : links()[peer]->get();
}

std::vector<transport::Channel*> Process::roads() {
  std::vector<transport::Channel*> open;
  if (heart_.channel()) open.push_back(heart_.channel());
  for (auto* link : links()) {
    if (*link) open.push_back(link->get());
  }
  return open;
}

void Process::fail(Status why) {
  failure_ = std::move(why);
  heart_.fail(failure_);
  end(State::failed);
}

void Process::end(State how) {
  state_ = how;
  heart_.close();
  for (auto* link : links()) link->reset();
}

}  // namespace cohaul::sim
