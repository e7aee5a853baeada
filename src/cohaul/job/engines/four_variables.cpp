// torchrun, and everything else that sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT.

#include "cohaul/job/engines/read.h"
#include "cohaul/job/host_port.h"

namespace cohaul::job {

Result<std::optional<Place>> four_variables(const Variables& v) {
  const bool rank = is_set(v, "RANK"), world = is_set(v, "WORLD_SIZE");
  if (!rank && !world) return std::optional<Place>();
  if (!rank || !world)
    return invalid(std::string("of the environment variables RANK and WORLD_SIZE only ") +
                   (rank ? "RANK" : "WORLD_SIZE") + " is set: set both, or none");
  const bool torchrun = is_set(v, "TORCHELASTIC_RUN_ID");
  Place place{.engine = torchrun ? "torchrun" : "RANK and WORLD_SIZE", .ends_with_engine = torchrun};
  COHAUL_TRY(read_task(v, "RANK", "WORLD_SIZE", place));
  if (is_set(v, "LOCAL_WORLD_SIZE")) {
    COHAUL_ASSIGN(place.tasks_on_host, number_of(v, "LOCAL_WORLD_SIZE", 1));
  }
  if (place.tasks == 1) return std::optional(place);
  const bool host = is_set(v, "MASTER_ADDR");
  if (!host || !is_set(v, "MASTER_PORT"))
    return invalid("WORLD_SIZE is " + text_of(v, "WORLD_SIZE") + ", but " + (host ? "MASTER_PORT" : "MASTER_ADDR") +
                   " is not set: it says where worker 0 meets the others");
  COHAUL_ASSIGN(const int port, number_of(v, "MASTER_PORT", 1));
  if (port > 65535)
    return invalid("the environment variable MASTER_PORT is '" + text_of(v, "MASTER_PORT") +
                   "': it should be a port in 1 … 65535");
  place.meet_at = HostPort{text_of(v, "MASTER_ADDR"), static_cast<std::uint16_t>(port)}.text();
  if (torchrun)  // a run without a name is called "none", so the address tells it from others
    place.run_name = "torchrun " + text_of(v, "TORCHELASTIC_RUN_ID") + " try " +
                     text_of(v, "TORCHELASTIC_RESTART_COUNT") + " at " + place.meet_at;
  // torchrun's own store keeps the port itself, and the next one may belong to any program.
  if (text_of(v, "TORCHELASTIC_USE_AGENT_STORE") == "True") place.meet_at = text_of(v, "MASTER_ADDR");
  return std::optional(place);
}

}  // namespace cohaul::job
