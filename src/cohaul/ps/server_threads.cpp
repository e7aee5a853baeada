#include "cohaul/ps/server_threads.h"

#include <system_error>

namespace cohaul::ps {

Status ServerThreads::start(job::Job& job, ServerRank rank, int trainer) {
  auto one = std::make_unique<One>();
  COHAUL_ASSIGN(one->service, Service::listen(job, rank, trainer));
  One* it = one.get();
  try {
    one->thread = std::thread([it] { it->end = it->service->run(); });
  } catch (const std::system_error& e) {
    return system_error("start a server's thread", e.code().value());
  }
  threads_.push_back(std::move(one));
  return {};
}

Status ServerThreads::join() {
  Status first;
  for (auto& one : threads_) {
    if (one->thread.joinable()) one->thread.join();
    if (first.ok()) first = one->end;
  }
  return first;
}

ServerThreads::~ServerThreads() {
  for (auto& one : threads_) one->service->stop();
  (void)join();
}

}  // namespace cohaul::ps
