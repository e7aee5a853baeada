#include "cohaul/job/engines/directory.h"

namespace cohaul::job {

Status ask_directory(Place& place, const std::string& host, Time deadline) {
  const bool says = place.task == 0;
  if (place.directory == Directory::pmix) {
    COHAUL_ASSIGN(place.meet_at, host_by_pmix(says, host, deadline));
  } else if (place.directory == Directory::pmi) {
    Pmi pmi(place.directory_fd, deadline);
    COHAUL_TRY(pmi.open());
    COHAUL_ASSIGN(const std::string run_name, pmi.run_name());
    if (place.meet_at.empty()) {
      COHAUL_ASSIGN(place.meet_at, pmi.host(says, host, run_name));
    }
    COHAUL_TRY(pmi.close());
    place.run_name = place.engine + " " + run_name;
  }
  return {};
}

}  // namespace cohaul::job
