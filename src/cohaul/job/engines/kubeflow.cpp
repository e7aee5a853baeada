// Kubeflow's PyTorch jobs. They set what torchrun reads (PET_*): a pod is a task where it has one process.

#include "cohaul/job/engines/read.h"
#include "cohaul/job/host_port.h"

namespace cohaul::job {
namespace {

constexpr const char* kRunTorchrun =
    "run `torchrun --no-python PROGRAM`, which reads these variables and starts the processes of a pod";

Result<std::optional<Place>> read_pod(const Variables& v) {
  Place place{.engine = "Kubeflow", .tasks_on_host = 1};
  COHAUL_TRY(read_task(v, "PET_NODE_RANK", "PET_NNODES", place));
  if (text_of(v, "PET_NPROC_PER_NODE") != "1")
    return invalid("each pod is to have " + text_of(v, "PET_NPROC_PER_NODE") +
                   " processes (PET_NPROC_PER_NODE), and this program is one: set numProcPerNode to 1 in the TrainJob");
  if (place.tasks == 1) return std::optional(place);
  if (!is_set(v, "PET_MASTER_ADDR")) return invalid("the environment variable PET_MASTER_ADDR is not set");
  COHAUL_ASSIGN(const int port, number_of(v, "PET_MASTER_PORT", 1));
  if (port > 65535) return invalid("the environment variable PET_MASTER_PORT is no port");
  place.meet_at = HostPort{text_of(v, "PET_MASTER_ADDR"), static_cast<std::uint16_t>(port)}.text();
  return std::optional(place);
}

}  // namespace

Result<std::optional<Place>> kubeflow(const Variables& v) {
  const bool torchrun = is_set(v, "TORCHELASTIC_RUN_ID");  // has read them, and says more itself
  if (torchrun || (!is_set(v, "PET_NODE_RANK") && !is_set(v, "PET_NNODES"))) return std::optional<Place>();
  Result<std::optional<Place>> place = read_pod(v);
  if (place.ok()) return place;
  return invalid("Kubeflow: " + place.status().message() + ", or " + kRunTorchrun);
}

}  // namespace cohaul::job
