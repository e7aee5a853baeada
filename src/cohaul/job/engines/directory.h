#pragma once
// What tasks can learn from the engine that started them, before they can talk: where task 0 is, and the run's name.

#include <string>

#include "cohaul/base/clock.h"
#include "cohaul/base/status.h"
#include "cohaul/job/engines/place.h"

namespace cohaul::job {

/// Asks the place's directory for what the place lacks: its run, and where to meet. Task 0 tells the directory
/// `host`. All tasks of the run call it. Blocks until all have, or the deadline. Errors: unsupported (the engine's
/// library is not there), peer_lost (the deadline), internal (the engine refuses).
Status ask_directory(Place& place, const std::string& host, Time deadline);

/// Asks PMIx, through the engine's own library libpmix.so.2.
Result<std::string> host_by_pmix(bool says, const std::string& host, Time deadline);

/// PMI 1 over a descriptor: lines of text that MPICH's hydra answers.
class Pmi {
 public:
  explicit Pmi(int fd, Time deadline) : fd_(fd), deadline_(deadline) {}
  Status open();
  /// Returns the run's name, which no other run on these hosts has.
  Result<std::string> run_name();
  /// Returns what task 0 has said. All tasks call it.
  Result<std::string> host(bool says, const std::string& host, const std::string& run_name);
  Status close();

 private:
  /// Sends a line and returns the answer, which begins with "cmd=" and `command`.
  Result<std::string> ask(const std::string& line, const std::string& command);
  int fd_;
  Time deadline_;
};

}  // namespace cohaul::job
