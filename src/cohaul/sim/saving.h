#pragma once
// A checkpoint of a simulated job. It stands for the folder and the job's store. Servers copy what they keep when worker 0 asks, write the copies
// later, and report it; worker 0 gives the checkpoint its name when all have reported.

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <vector>

#include "cohaul/base/clock.h"
#include "cohaul/base/status.h"
#include "cohaul/ps/disk.h"
#include "cohaul/sim/scenario.h"

namespace cohaul::sim {

/// A piece with memory of its own.
struct SavedPiece {
  std::int32_t parameter = 0;
  std::uint64_t first = 0;
  std::int64_t count = 0;
  std::vector<double> values;
  std::vector<std::vector<double>> states;
};

/// The checkpoint of one job.
struct Saving {
  std::int32_t arrived = 0;  // number of workers at the meeting before it
  bool copied = false;       // all servers have copied what they keep, as worker 0 has been told
  std::map<std::int32_t, std::vector<SavedPiece>> parts;  // by server
  std::set<std::int32_t> workers_said, servers_said;      // those that have reported that their files are written
  bool committed = false;
  std::vector<Time> moments;  // when something happened between the meeting and the end of the checkpoint
};

/// A server's disk, which adds what it copies to the job's checkpoint.
class SavingDisk final : public ps::Disk {
 public:
  SavingDisk(Saving& saving, std::int32_t server) : saving_(saving), server_(server) {}
  void save(const std::string& folder, const std::string& name, const std::string& key, const update::Layout& layout,
            std::span<const update::StatePiece> pieces) override;
  Status look(const std::string&, const std::string&) override { return {}; }
  Status restore(const std::string&, const update::Layout&, std::span<const update::StatePiece>) override {
    return unsupported("simulated jobs do not resume");
  }
  /// Returns true once after each copy that has still to be written.
  bool take_copied() { return std::exchange(copied_, false); }

 private:
  Saving& saving_;
  const std::int32_t server_;
  bool copied_ = false;
};

/// Checks that one process that continues from the checkpoint gets the same parameters as the run that was not interrupted, bit for bit. values: of
/// that run after `steps` steps; end: at its end. Errors: corrupt, saying what is wrong.
Status check_checkpoint(const Saving& saving, const Scenario& scenario, const update::Layout& layout,
                        std::span<const double> values, std::span<const double> end);

}  // namespace cohaul::sim
