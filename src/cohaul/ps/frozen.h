#pragma once
// Parameters that are not trained have no partition. Worker 0 sends them to server 0 once at the start, and the other workers get them from there.

#include <cstdint>
#include <memory>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"
#include "cohaul/ps/outbox.h"
#include "cohaul/update/layout.h"

namespace cohaul::ps {

/// Returns the size of all frozen parameters together, in bytes, without padding.
std::uint64_t frozen_bytes(const update::Layout& layout);
/// Copies their values out of the flat area, one after the other, and back.
std::vector<std::byte> gather_frozen(const update::Layout& layout, ConstBytes parameters);
void scatter_frozen(const update::Layout& layout, ConstBytes values, Bytes parameters);
/// Returns the number that stands for the frozen parameters where a message has a partition's number.
inline std::uint64_t frozen_key(const update::Layout& layout) { return layout.partitions().size(); }

/// Keeps the values at server 0, and answers pulls when it has them. The values never change.
class Frozen {
 public:
  Frozen(const update::Layout& layout, std::int32_t workers, ToWorkers& out);
  Status initial(ConstBytes values);
  void pull(WorkerRank from);
  /// The worker is gone; it gets no answer.
  void forget(WorkerRank worker) { wanted_[worker.value] = false; }

 private:
  void answer(WorkerRank to);
  const std::uint64_t key_, bytes_;
  ToWorkers& out_;
  std::shared_ptr<std::vector<std::byte>> values_;  // null: they have not come yet
  std::vector<bool> wanted_;
};

}  // namespace cohaul::ps
