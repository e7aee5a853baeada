#include "cohaul/job/engines/place.h"

#include "cohaul/job/engines/read.h"
#include "cohaul/job/variables.h"

namespace cohaul::job {
namespace {

using Engine = Result<std::optional<Place>> (*)(const Variables&);
constexpr Engine kEngines[] = {four_variables, open_mpi, mpich, slurm, kubernetes, kubeflow};

Status mistake_of(const Place& alone, const Place& other) {
  if (other.tasks == 1) return other.mistake;
  return invalid(alone.engine + " says that this process is alone, and " + other.engine + " has started " +
                 std::to_string(other.tasks) +
                 " of them, which would each train alone: unset the variables of one, or set COHAUL_ENGINE=none");
}

}  // namespace

Result<MemberKey> member_of(const Place& place, int servers) {
  const int workers = place.tasks - servers;
  if (workers < 1)
    return invalid(place.engine + " has started " + std::to_string(place.tasks) + " tasks, and " +
                   std::to_string(servers) + " of them are to be servers: at least one worker is needed");
  const bool serves = place.task >= workers;
  return MemberKey{serves ? transport::Role::server : transport::Role::worker,
                   serves ? place.task - workers : place.task};
}

Result<std::optional<Place>> find_place(const Variables& v) {
  if (const std::string engine = text_of(v, variables::kEngine); !engine.empty()) {
    if (engine == "none") return std::optional<Place>();
    return invalid(std::string("the environment variable ") + variables::kEngine + " is '" + engine +
                   "': it can only be none, for a process that no engine started");
  }
  std::optional<Place> found;
  for (const Engine engine : kEngines) {
    COHAUL_ASSIGN(std::optional<Place> place, engine(v));
    if (!place) continue;
    if (!found) found = std::move(place);
    else if (found->mistake.ok()) found->mistake = mistake_of(*found, *place);
    if (found->tasks > 1) break;
  }
  return found;
}

}  // namespace cohaul::job
