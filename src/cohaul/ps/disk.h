#pragma once
// What a server writes to a disk and reads from it, for checkpoints. The state machine (server.h) has no disk of its own.

#include <span>
#include <string>

#include "cohaul/base/status.h"
#include "cohaul/checkpoint/manifest.h"
#include "cohaul/update/layout.h"
#include "cohaul/update/owner.h"

namespace cohaul::ps {

class Disk {
 public:
  virtual ~Disk() = default;
  /// Writes the pieces into a new file `folder`/`name`. Blocks until it is on the disk. Errors: invalid, naming the file.
  virtual Result<checkpoint::FileEntry> save(const std::string& folder, const std::string& name,
                                             const update::Layout& layout,
                                             std::span<const update::StatePiece> pieces) = 0;
  /// Reads the pieces out of the files of a checkpoint. Errors: invalid, naming file or parameter.
  virtual Status restore(const std::string& checkpoint, const update::Layout& layout,
                         std::span<const update::StatePiece> pieces) = 0;
};

/// The file system. Stateless.
Disk& real_disk();

}  // namespace cohaul::ps
