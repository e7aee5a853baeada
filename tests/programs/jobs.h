#pragma once
// Long-lived jobs of worker processes that run one program after another. This process sends every worker the program over a socket, and waits with a
// deadline.

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "cohaul/base/status.h"
#include "cohaul/base/temporary_folder.h"
#include "outcome.h"
#include "program.h"

namespace cohaul::programs {

/// Where a program runs.
struct Setting {
  std::string strategy;  // single, all_reduce, sync
  int workers = 1;
  int servers = 0;  // server processes; 0: servers, if any, are threads of the workers
  bool tcp = false;
  std::string name() const;  // "sync, 3 workers, 2 servers, tcp"
  bool operator==(const Setting&) const = default;
};

/// Returns all settings.
std::vector<Setting> all_settings();
/// Returns a few settings with few processes, which cover each strategy, transport, kind of server and number of workers.
std::vector<Setting> few_settings();

/// A job of long-lived processes. One thread at a time may use it. It starts its processes at the first use, and again after a failure.
class LongJob {
 public:
  explicit LongJob(Setting setting) : setting_(std::move(setting)) {}
  ~LongJob() { stop(); }
  LongJob(const LongJob&) = delete;

  const Setting& setting() const { return setting_; }
  /// Runs a program, and returns one outcome for each worker. Blocks until all are here, at most limit_s (peer_lost, with the job's last output).
  Result<std::vector<Outcome>> run(const Program& program, double limit_s);
  /// Ends the processes and waits for their end. at_once: kills them, without goodbyes.
  void stop(bool at_once = false);

 private:
  Status start();
  Status meet_workers(int listener);
  Result<std::vector<Outcome>> ask(const Program& program, double limit_s);
  std::string last_words() const;
  bool launcher_lives();

  Setting setting_;
  std::unique_ptr<TemporaryFolder> folder_;
  pid_t launcher_ = -1;
  std::vector<int> sockets_;  // by worker
};

}  // namespace cohaul::programs
