// Kubernetes: the pods of an Indexed Job, as `cohaul kubernetes` describes it.

#include "cohaul/job/engines/read.h"
#include "cohaul/job/variables.h"

namespace cohaul::job {
namespace {

Status missing(std::string_view name, const std::string& what) {
  return invalid("the environment variable " + std::string(name) + " is not set, and this is a pod of a job: " + what +
                 "; `cohaul kubernetes` makes a manifest that sets all");
}

}  // namespace

Result<std::optional<Place>> kubernetes(const Variables& v) {
  const char *const tasks = variables::kTasks, *const meet_at = variables::kMeetAt,
                    *const index = "JOB_COMPLETION_INDEX";
  if (!is_set(v, tasks) && !is_set(v, meet_at)) return std::optional<Place>();
  if (!is_set(v, tasks)) return missing(tasks, "it says how many pods the job has");
  if (!is_set(v, index)) return missing(index, "Kubernetes sets it where the Job has completionMode: Indexed");
  Place place{.engine = "Kubernetes", .tasks_on_host = 1};
  COHAUL_TRY(read_task(v, index, tasks, place));
  if (place.tasks == 1) return std::optional(place);
  place.meet_at = text_of(v, meet_at);
  if (place.meet_at.empty()) return missing(meet_at, "it says on which host the pod of index 0 is");
  if (!is_set(v, "JOBSET_NAME") && !is_set(v, "JOB_UID") && !is_set(v, variables::kJob))
    return missing("JOB_UID", "it tells this run from others, by the pod's label batch.kubernetes.io/controller-uid");
  const std::string restarts = text_of(v, "JOBSET_RESTART_ATTEMPT");
  place.run_name = "Kubernetes " + text_of(v, "JOBSET_NAME") + " " + text_of(v, "JOB_UID") + " try " +
                   (restarts.empty() ? "0" : restarts);
  return std::optional(place);
}

}  // namespace cohaul::job
