#pragma once
// Meetings of a job's workers, as they are told of.

#include <cstdint>
#include <string>

namespace cohaul::job {

/// Where all workers of a job come together, one meeting after the other within one group.
struct Meeting {
  std::string group;        // "trainer 0"
  std::int64_t number = 0;  // of this group, from 0: all workers count alike
  std::string purpose;      // "evaluate()"; the same at all workers, or all who are there learn at once that it is not
  std::int64_t progress = 0;  // steps that this worker has completed in the group
  std::string facts;          // lines "name=value\n" that must be equal at all workers (base/facts.h); may be empty
};
/// "evaluate() after 5 steps"
std::string describe(const Meeting& meeting);

/// A worker that waits at a meeting for others, and so takes part in no step.
struct Absence {
  int worker = 0;
  Meeting meeting;  // without its facts
};

}  // namespace cohaul::job
