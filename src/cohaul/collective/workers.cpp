#include "cohaul/collective/workers.h"

#include <numeric>

#include "cohaul/base/error.h"
#include "cohaul/collective/direct_group.h"
#include "cohaul/collective/links.h"
#include "cohaul/job/connect.h"
#include "cohaul/job/cores.h"
#include "cohaul/transport/poller.h"

namespace cohaul::collective {

Workers::Workers(job::Job& job) : job_(job) {}

Result<std::unique_ptr<Workers>> Workers::connect(job::Job& job, const std::string& purpose, std::uint64_t model,
                                                  Watch& watch) {
  std::unique_ptr<Workers> w(new Workers(job));
  COHAUL_ASSIGN(w->poller_, transport::make_poller());
  w->poller_->set_spin(job::default_spin(job));
  Time deadline = steady_clock().now() + seconds(job.options().join_timeout_s);
  COHAUL_ASSIGN(auto channels, job::connect_workers(job, *w->poller_, purpose, model, deadline));
  const std::vector<int> hosts = hosts_of(job);
  for (std::size_t r = 0; r < channels.size(); ++r) {
    const bool near = hosts[r] == hosts[static_cast<std::size_t>(job.rank())];
    if (channels[r] && channels[r]->shares_memory() != near)
      return invalid("worker " + std::to_string(r) + " " + (near ? "does not share" : "shares") +
                     " memory with this one: job.transport must be the same at all workers");
  }
  job.wake_on_loss(w->poller_.get());
  w->links_ = std::make_unique<Links>(job.rank(), std::move(channels), *w->poller_, watch,
                                      seconds(job.options().step_timeout_s));
  w->group_ = make_direct_group(*w->links_);
  return w;
}

std::unique_ptr<Workers> connect_workers(job::Job& job, const std::string& purpose) {
  return or_throw(Workers::connect(job, "program: " + purpose, 0));
}

std::vector<int> hosts_of(const job::Job& job) {
  if (job.options().transport != transport::Form::tcp) return job.hosts();
  std::vector<int> out(static_cast<std::size_t>(job.world()));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

Workers::~Workers() {
  group_.reset();
  links_.reset();
  if (poller_) job_.forget(poller_.get());
}

}  // namespace cohaul::collective
