#pragma once
// The file from which torchrun shows a failure: it names one to each process that it starts
// (TORCHELASTIC_ERROR_FILE).

#include <string>

#include "cohaul/base/status.h"
#include "cohaul/base/wall_clock.h"

namespace cohaul::job {

/// Writes down why this process fails, where torchrun has started it. Writes nothing where another process was lost,
/// so that torchrun's root cause is the process that failed first. It does nothing where it cannot write, since
/// stderr has the error, too.
void tell_torchrun(const Status& why, const Clock& clock = wall_clock());

/// Returns the file that torchrun names to this process; empty: torchrun has not started it.
std::string torchruns_error_file();

/// Returns the text that torch.distributed.elastic reads: {"message": {"message": …, "extraInfo": {"timestamp":
/// seconds since 1970}}}.
std::string error_file_text(const std::string& message, Time now);

}  // namespace cohaul::job
