// MPICH's hydra, and others that speak PMI 1 over a descriptor (Intel MPI, MVAPICH).

#include "cohaul/job/engines/read.h"

namespace cohaul::job {

Result<std::optional<Place>> mpich(const Variables& v) {
  if (!is_set(v, "PMI_FD")) return std::optional<Place>();  // Slurm sets ranks and no descriptor, and says more itself
  Place place{.engine = "MPICH", .directory = Directory::pmi, .ends_with_engine = true};
  COHAUL_ASSIGN(place.directory_fd, number_of(v, "PMI_FD", 0));
  COHAUL_TRY(read_task(v, "PMI_RANK", "PMI_SIZE", place));
  if (place.tasks == 1) place.directory = Directory::none;
  if (is_set(v, "MPI_LOCALNRANKS")) {
    COHAUL_ASSIGN(place.tasks_on_host, number_of(v, "MPI_LOCALNRANKS", 1));
  }
  if (place.on_one_host()) place.meet_at = kThisHost;
  return std::optional(place);
}

}  // namespace cohaul::job
