#pragma once
// What a server writes to a disk and reads from it, for checkpoints. The state machine (server.h) has no disk of its own.

#include <memory>
#include <span>
#include <string>

#include "cohaul/base/status.h"
#include "cohaul/job/job.h"
#include "cohaul/update/layout.h"
#include "cohaul/update/owner.h"

namespace cohaul::ps {

class Disk {
 public:
  virtual ~Disk() = default;
  /// Copies the pieces, and writes them into a new file `folder`/`name` while others go on. What came of it stands in the job's store under `key`
  /// (checkpoint::text_of). Blocks while an earlier one is written.
  virtual void save(const std::string& folder, const std::string& name, const std::string& key,
                    const update::Layout& layout, std::span<const update::StatePiece> pieces) = 0;
  /// checkpoint::expect_shared.
  virtual Status look(const std::string& folder, const std::string& mark) = 0;
  /// Reads the pieces out of the files of a checkpoint. Errors: invalid, naming file or parameter.
  virtual Status restore(const std::string& checkpoint, const update::Layout& layout,
                         std::span<const update::StatePiece> pieces) = 0;
};

/// The file system. job: outlives it. Its end blocks until what was begun is written.
std::unique_ptr<Disk> make_disk(job::Job& job);

}  // namespace cohaul::ps
