#pragma once
// A server's access to files, for checkpoints. It is an interface, because the state machine (server.h) does no I/O itself.

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
  /// Copies the pieces, and writes the copies into a new file `folder`/`name` in the background. The result is written to the job's store under `key`
  /// (checkpoint::text_of). Blocks while an earlier file is being written.
  virtual void save(const std::string& folder, const std::string& name, const std::string& key,
                    const update::Layout& layout, std::span<const update::StatePiece> pieces) = 0;
  /// Returns the result of checkpoint::expect_shared().
  virtual Status look(const std::string& folder, const std::string& mark) = 0;
  /// Reads the pieces from the files of a checkpoint. Errors: invalid, naming file or parameter.
  virtual Status restore(const std::string& checkpoint, const update::Layout& layout,
                         std::span<const update::StatePiece> pieces) = 0;
};

/// Returns a Disk that uses the file system. `job` must outlive it. Its destructor blocks until all writes are done.
std::unique_ptr<Disk> make_disk(job::Job& job);

}  // namespace cohaul::ps
