#include "cohaul/ps/server_threads.h"

#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "cohaul/base/mutex.h"
#include "cohaul/ps/service.h"

namespace cohaul::ps {

struct ServerThreads::State {
  Mutex mutex;
  CondVar changed;
  std::vector<Service*> running COHAUL_GUARDED_BY(mutex);  // may be stopped
  int left COHAUL_GUARDED_BY(mutex) = 0;                   // threads that have something to do or to free
  Status first COHAUL_GUARDED_BY(mutex);                   // error

  void run(std::unique_ptr<Service> service) {
    Status end = service->run();
    {
      const MutexLock lock(mutex);
      std::erase(running, service.get());
    }
    service.reset();
    const MutexLock lock(mutex);
    if (first.ok()) first = std::move(end);
    --left;
    changed.notify_all();
  }
};

ServerThreads::ServerThreads() : state_(std::make_shared<State>()) {}

Status ServerThreads::start(job::Job& job, ServerRank rank, int trainer) {
  COHAUL_ASSIGN(std::unique_ptr<Service> service, Service::listen(job, rank, trainer));
  const MutexLock lock(state_->mutex);
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

Status ServerThreads::wait_for_all(Time deadline) {
  MutexLock lock(state_->mutex);
  while (state_->left != 0)
    if (!state_->changed.wait_until(lock, deadline))
      return peer_lost("a server of this process waits for workers that have not said goodbye");
  return state_->first;
}

ServerThreads::~ServerThreads() {
  MutexLock lock(state_->mutex);
  for (Service* service : state_->running) service->stop();
  while (state_->left != 0) state_->changed.wait(lock);
}

}  // namespace cohaul::ps
