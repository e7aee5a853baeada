#include "cohaul/strategy/workers.h"

#include "cohaul/job/connect.h"
#include "cohaul/job/cores.h"

namespace cohaul::strategy {

Result<std::unique_ptr<Workers>> Workers::connect(job::Job& job, const std::string& purpose, std::uint64_t model,
                                                  Watch& watch) {
  std::unique_ptr<Workers> w(new Workers(job));
  COHAUL_ASSIGN(w->poller_, transport::make_poller());
  w->poller_->set_spin(job::default_spin(job));
  Time deadline = steady_clock().now() + seconds(job.options().join_timeout_s);
  COHAUL_ASSIGN(auto channels, job::connect_workers(job, *w->poller_, purpose, model, deadline));
  for (auto& c : channels)
    if (c) w->share_memory_ = w->share_memory_ && c->shares_memory();
  job.wake_on_loss(w->poller_.get());
  w->links_ = std::make_unique<collective::Links>(job.rank(), std::move(channels), *w->poller_, watch,
                                                  seconds(job.options().step_timeout_s));
  w->group_ = collective::make_direct_group(*w->links_);
  return w;
}

Workers::~Workers() {
  group_.reset();
  links_.reset();
  if (poller_) job_.forget(poller_.get());
}

}  // namespace cohaul::strategy
