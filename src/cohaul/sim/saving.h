#pragma once
// A checkpoint of a simulated job: what the folder and the job's store are to a real one. Servers copy what they keep when worker 0 asks, write the
// copies later, and say so; worker 0 gives the whole its name when all have said so.

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

/// Of one job. One thread.
struct Saving {
  std::int32_t arrived = 0;                               // workers at the meeting before it
  bool copied = false;                                    // by all servers, as worker 0 has heard
  std::map<std::int32_t, std::vector<SavedPiece>> parts;  // by server
  std::set<std::int32_t> workers_said, servers_said;      // whose files are written
  bool committed = false;
  std::vector<Time> moments;  // at which something happened between the meeting and the end of it
};

/// A server's disk. What it copies goes into the job's checkpoint.
class SavingDisk final : public ps::Disk {
 public:
  SavingDisk(Saving& saving, std::int32_t server) : saving_(saving), server_(server) {}
  void save(const std::string& folder, const std::string& name, const std::string& key, const update::Layout& layout,
            std::span<const update::StatePiece> pieces) override;
  Status look(const std::string&, const std::string&) override { return {}; }
  Status restore(const std::string&, const update::Layout&, std::span<const update::StatePiece>) override {
    return unsupported("simulated jobs do not resume");
  }
  /// It has copied what is not written yet. True once.
  bool take_copied() { return std::exchange(copied_, false); }

 private:
  Saving& saving_;
  const std::int32_t server_;
  bool copied_ = false;
};

/// That one process which goes on from the checkpoint comes to the parameters of the run that was not broken, bit for bit. values: of that run
/// after `steps` steps, and at its end. Errors: corrupt, saying what is wrong.
Status check_checkpoint(const Saving& saving, const Scenario& scenario, const update::Layout& layout,
                        std::span<const double> values, std::span<const double> end);

}  // namespace cohaul::sim
