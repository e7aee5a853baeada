#pragma once
// A meeting of a job's workers, and a worker that waits at one.

#include <cstdint>
#include <string>

namespace cohaul::job {

/// A point at which all workers of a job come together. Meetings follow each other within one group.
struct Meeting {
  std::string group;          // "trainer 0"
  std::int64_t number = 0;    // of this group, from 0: all workers count alike
  std::string purpose;        // "evaluate()"; where workers differ in it, all that are there learn so at once
  std::int64_t progress = 0;  // steps that this worker has completed in the group
  std::string facts;          // lines "name=value\n" that must be equal at all workers (base/facts.h); may be empty
};
/// Returns "evaluate() after 5 steps".
std::string describe(const Meeting& meeting);

/// A worker that waits at a meeting for others, and so takes part in no step.
struct Absence {
  int worker = 0;
  Meeting meeting;  // without its facts
};

}  // namespace cohaul::job
