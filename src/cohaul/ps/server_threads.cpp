#include "cohaul/ps/server_threads.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "cohaul/ps/service.h"

namespace cohaul::ps {

struct ServerThreads::State {
  std::mutex mutex;  // guards the following members
  std::condition_variable changed;
  std::vector<Service*> running;  // services that can be stopped
  int left = 0;                   // number of threads that still run or still free memory
  Status first;                   // the first error

  void run(std::unique_ptr<Service> service) {
    Status end = service->run();
    {
      std::lock_guard lock(mutex);
      std::erase(running, service.get());
    }
    service.reset();
    std::lock_guard lock(mutex);
    if (first.ok()) first = std::move(end);
    --left;
    changed.notify_all();
  }
};

ServerThreads::ServerThreads() : state_(std::make_shared<State>()) {}

Status ServerThreads::start(job::Job& job, ServerRank rank, int trainer) {
  COHAUL_ASSIGN(std::unique_ptr<Service> service, Service::listen(job, rank, trainer));
  std::lock_guard lock(state_->mutex);
  Service* it = service.get();
  try {
    // The thread is detached, so its stack is freed as soon as it ends.
    std::thread([state = state_, service = std::move(service)]() mutable { state->run(std::move(service)); }).detach();
  } catch (const std::system_error& e) {
    return system_error("start a server's thread", e.code().value());
  }
  state_->running.push_back(it);
  ++state_->left;
  return {};
}

Status ServerThreads::join(Time deadline) {
  std::unique_lock lock(state_->mutex);
  const auto patience = std::chrono::nanoseconds(std::max<Duration>(deadline - steady_clock().now(), 0));
  if (!state_->changed.wait_for(lock, patience, [&] { return state_->left == 0; }))
    return peer_lost("a server of this process waits for workers that have not said goodbye");
  return state_->first;
}

ServerThreads::~ServerThreads() {
  std::unique_lock lock(state_->mutex);
  for (Service* service : state_->running) service->stop();
  state_->changed.wait(lock, [&] { return state_->left == 0; });
}

}  // namespace cohaul::ps
