#pragma once
// What a process is asked for by signals while it trains: a checkpoint (SIGUSR1), or a checkpoint and its end (SIGTERM, SIGINT).

#include <cstdint>
#include <string>

namespace cohaul::job {

/// As update::StepOutcome::request carries them; a larger one is stronger. 0: nothing. An end is 128 + the signal, as the process exits with.
constexpr std::uint8_t kCheckpointRequest = 1;
constexpr bool is_stop(std::uint8_t request) { return request > 128; }
/// "SIGTERM"
std::string signal_name(std::uint8_t stop);

/// Takes these signals while it lives. Signals are the process's: several that live at once see the same. A signal that the program handles itself,
/// or ignores, stays the program's. A second SIGTERM or SIGINT ends the process at once; one within half a second is the first one again, since a
/// launcher passes on what the whole group was sent. SIGUSR1 stays taken after the end: one that comes late must not kill. One thread.
class Requests {
 public:
  /// stops: SIGTERM and SIGINT, too.
  explicit Requests(bool stops);
  /// What nobody has answered waits for the next one.
  ~Requests();
  Requests(const Requests&) = delete;

  /// The strongest one that has come and is not answered. Costs two loads.
  std::uint8_t pending() const;
  /// Answers those that have come; later ones ask for another.
  void checkpoint_begins();
  /// The process ends because of it.
  void stopping();
  /// The process takes no stop any more: one that came too late ends it now, as by default.
  static void suffer();

 private:
  const bool stops_;
};

}  // namespace cohaul::job
