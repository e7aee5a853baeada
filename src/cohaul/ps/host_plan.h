#pragma once
// Which workers of a host speak to servers of other hosts for all of them, so that what crosses hosts crosses once: a pure function of hosts,
// slices and layout. Synchronous mode.
//
// Of a partition that a server elsewhere keeps, the workers of a host send their gradients to one of them, the joiner, which sends the server one
// gradient for each complete subtree of slices that the host has. One worker, the puller, asks for the new parameters and passes them on.

#include <cstdint>
#include <span>
#include <vector>

#include "cohaul/ps/placement.h"
#include "cohaul/update/layout.h"
#include "cohaul/update/slices.h"

namespace cohaul::ps {

/// As one worker sees it.
struct HostPlan {
  /// hosts: by worker, equal where they share memory. near: by server, whether it is on this worker's host.
  HostPlan(const update::Layout& layout, std::int32_t slices, std::span<const int> hosts, int worker,
           const std::vector<bool>& near);

  /// A complete subtree of slices that several workers of this host have together.
  struct Sum {
    update::SliceRange slices;
    std::vector<update::SliceRange> parts;  // that make it up, ascending
    std::vector<int> holders;               // by part: the worker that has it
    std::vector<int> workers;               // the holders, each once
  };

  /// Whether it has anything to say: the host has several workers, and a server is elsewhere.
  bool is_needed() const { return is_needed_; }
  /// Whether this host's workers speak to the partition's server through one of them.
  bool is_far(std::size_t partition) const { return far_[partition]; }
  /// The sum that a part of a worker of this host is in; -1: it goes to the server as it is.
  int sum_of(const update::SliceRange& part) const;
  int joiner(std::size_t partition, int sum) const {
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
