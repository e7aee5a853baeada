#pragma once
// Parameters that are not trained have no partition: they go from worker 0 to all once, at the start, through server 0.

#include <cstdint>
#include <memory>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"
#include "cohaul/ps/outbox.h"
#include "cohaul/update/layout.h"

namespace cohaul::ps {

/// Bytes of all frozen parameters together, without padding.
std::uint64_t frozen_bytes(const update::Layout& layout);
/// Their values out of the flat area, one after the other; and back.
std::vector<std::byte> gather_frozen(const update::Layout& layout, ConstBytes parameters);
void scatter_frozen(const update::Layout& layout, ConstBytes values, Bytes parameters);
/// In place of a partition's number.
inline std::uint64_t frozen_key(const update::Layout& layout) { return layout.partitions().size(); }

/// Server 0's side: keeps the values, answers pulls now or when they have come. Never changes them.
class Frozen {
 public:
  Frozen(const update::Layout& layout, std::int32_t workers, ToWorkers& out);
  Status initial(ConstBytes values);
  void pull(WorkerRank from);
  /// The worker is gone: it waits no more.
  void forget(WorkerRank worker) { wanted_[worker.value] = false; }

 private:
  void answer(WorkerRank to);
  const std::uint64_t key_, bytes_;
  ToWorkers& out_;
  std::shared_ptr<std::vector<std::byte>> values_;  // null: not yet
  std::vector<bool> wanted_;
};

}  // namespace cohaul::ps
