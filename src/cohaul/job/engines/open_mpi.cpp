// Open MPI 4 and 5.

#include "cohaul/job/engines/read.h"

namespace cohaul::job {

Result<std::optional<Place>> open_mpi(const Variables& v) {
  if (!is_set(v, "OMPI_COMM_WORLD_RANK") && !is_set(v, "OMPI_COMM_WORLD_SIZE")) return std::optional<Place>();
  Place place{.engine = "Open MPI", .ends_with_engine = true};
  COHAUL_TRY(read_task(v, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", place));
  COHAUL_ASSIGN(place.tasks_on_host, number_of(v, "OMPI_COMM_WORLD_LOCAL_SIZE", 1));
  if (!is_set(v, "PMIX_NAMESPACE"))
    return invalid("Open MPI sets no PMIX_NAMESPACE, which tells its runs apart: version 4 or later is needed");
  // mpirun draws the key of its transports anew for each run. Its namespace alone would not do: it is a number that
  // comes again.
  place.run_name =
      "Open MPI " + text_of(v, "PMIX_NAMESPACE") + " " + text_of(v, "OMPI_MCA_orte_precondition_transports");
  if (place.on_one_host()) place.meet_at = kThisHost;
  else place.directory = Directory::pmix;
  return std::optional(place);
}

}  // namespace cohaul::job
