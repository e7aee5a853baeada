#pragma once
// Decides which workers of a host talk to servers on other hosts for all workers of their host, so that data crosses between two hosts only once. It
// is a pure function of hosts, slices and layout. Synchronous mode only.
//
// The workers of a host send their gradients of a partition, if its server is on another host, to one of them, the summing worker. It sends the
// server one sum for each complete subtree of slices that the host has. Another worker, the puller, pulls the new parameters and passes them on.

#include <cstdint>
#include <span>
#include <vector>

#include "cohaul/ps/placement.h"
#include "cohaul/update/layout.h"
#include "cohaul/update/slices.h"

namespace cohaul::ps {

/// The plan of one worker.
struct HostPlan {
  /// hosts: by worker, equal where workers share memory. near: by server, whether it is on this worker's host.
  HostPlan(const update::Layout& layout, std::int32_t slices, std::span<const int> hosts, int worker,
           const std::vector<bool>& near);

  /// A complete subtree of slices that several workers of this host compute together.
  struct Sum {
    update::SliceRange slices;
    std::vector<update::SliceRange> parts;  // the parts that it consists of, ascending
    std::vector<int> holders;               // by part: the worker that computes it
    std::vector<int> workers;               // the holders, each once
  };

  /// Returns whether there is anything to do: the host has several workers, and a server is on another host.
  bool is_needed() const { return is_needed_; }
  /// Returns whether this host's workers talk to the partition's server through one of them.
  bool is_far(std::size_t partition) const { return far_[partition]; }
  /// Returns the index in `sums` of the sum that the part of a worker of this host belongs to; -1: the part is sent to the server as it is.
  int sum_of(const update::SliceRange& part) const;
  int summing_worker(std::size_t partition, int sum) const {
    return dealt(partition, sums[static_cast<std::size_t>(sum)].workers);
  }
  int puller(std::size_t partition) const { return dealt(partition, workers); }

  int worker;
  std::vector<update::SliceRange> slices;  // by worker of the job
  std::vector<int> workers;                // of this host, ascending
  std::vector<Sum> sums;

 private:
  static int dealt(std::size_t partition, const std::vector<int>& among) { return among[partition % among.size()]; }
  bool is_needed_ = false;
  std::vector<bool> far_;  // by partition
};

}  // namespace cohaul::ps
