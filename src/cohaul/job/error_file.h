#pragma once
// What torchrun shows of a failure: it names a file to each process that it starts (TORCHELASTIC_ERROR_FILE).

#include <string>

#include "cohaul/base/status.h"
#include "cohaul/base/wall_clock.h"

namespace cohaul::job {

/// Writes down why this process fails, where torchrun has started it. The loss of another is left to that one to explain, so that torchrun's root cause
/// is the one who failed first. It does nothing where it cannot write: what is said on stderr stands.
void tell_torchrun(const Status& why, const Clock& clock = wall_clock());

/// The file that torchrun names to this process; empty: torchrun has not started it.
std::string torchruns_error_file();

/// What torch.distributed.elastic reads: {"message": {"message": …, "extraInfo": {"timestamp": seconds since 1970}}}.
std::string error_file_text(const std::string& message, Time now);

}  // namespace cohaul::job
