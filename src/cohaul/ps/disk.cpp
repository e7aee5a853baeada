#include "cohaul/ps/disk.h"

#include "cohaul/checkpoint/state_file.h"

namespace cohaul::ps {
namespace {

class RealDisk final : public Disk {
 public:
  Result<checkpoint::FileEntry> save(const std::string& folder, const std::string& name, const update::Layout& layout,
                                     std::span<const update::StatePiece> pieces) override {
    return checkpoint::write_state(folder, name, layout, pieces);
  }
  Status restore(const std::string& checkpoint, const update::Layout& layout,
                 std::span<const update::StatePiece> pieces) override {
    return checkpoint::restore(checkpoint, layout, pieces);
  }
};

}  // namespace

Disk& real_disk() {
  static RealDisk disk;
  return disk;
}

}  // namespace cohaul::ps
