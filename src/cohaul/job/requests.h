#pragma once
// Signals that ask a training process for a checkpoint (SIGUSR1), or for a checkpoint and its end (SIGTERM, SIGINT).

#include <cstdint>
#include <string>

namespace cohaul::job {

/// As update::StepOutcome::request carries them; a larger one is stronger. 0: nothing. An end is 128 + the signal, as the process exits with.
constexpr std::uint8_t kCheckpointRequest = 1;
constexpr bool is_stop(std::uint8_t request) { return request > 128; }
/// "SIGTERM"
std::string signal_name(std::uint8_t stop);

/// Handles these signals while it lives. Signals are the process's: several objects that live at once see the same. A
/// signal that the program handles itself, or ignores, is left to the program. A second SIGTERM or SIGINT ends the
/// process at once; one within half a second counts as the first, since a launcher passes on what the whole group was
/// sent. SIGUSR1 stays handled after the end, so that a late one does not kill the process. One thread.
class Requests {
 public:
  /// stops: handles SIGTERM and SIGINT, too.
  explicit Requests(bool stops);
  /// A request that was not answered stays for the next object.
  ~Requests();
  Requests(const Requests&) = delete;

  /// Returns the strongest request that has come and is not answered. Costs two loads.
  std::uint8_t pending() const;
  /// Answers the requests that have come; later ones ask for another checkpoint.
  void checkpoint_begins();
  /// Tells that the process ends because of the request.
  void stopping();
  /// Raises a SIGTERM or SIGINT that came too late to be answered, which ends the process as by default. No effect
  /// while an object takes stops.
  static void suffer();

 private:
  const bool stops_;
};

}  // namespace cohaul::job
