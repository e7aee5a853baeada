#pragma once
// For tests: the workers of a real job, each on a thread of its own.

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "cohaul/job/job.h"
#include "cohaul/transport/endpoint.h"

namespace cohaul::job {

/// Returns an address with a port that was free a moment ago.
inline std::string free_address() {
  auto poller = *transport::make_poller();
  return "127.0.0.1:" + std::to_string((*transport::listen(*poller, {}, "127.0.0.1", 0))->address().port);
}

/// Runs `body` for each worker; worker 0 hosts the rendezvous. body closes its job, or leaves without a goodbye.
inline void with_workers(int world, const std::function<void(Job&)>& body, double peer_timeout_s = 5,
                         transport::Form transport = transport::Form::auto_) {
  const std::string address = world > 1 ? free_address() : "";
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world; ++rank) {
    threads.emplace_back([&, rank] {
      JoinOptions o;
      o.rank = rank;
      o.world = world;
      o.address = address;
      o.join_timeout_s = o.step_timeout_s = 20;
      o.peer_timeout_s = peer_timeout_s;
      o.transport = transport;
      auto job = Job::join(o);
      ASSERT_TRUE(job.ok()) << job.status().message();
      body(**job);
    });
  }
  for (auto& t : threads) t.join();
}

}  // namespace cohaul::job
