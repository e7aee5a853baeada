#include "cohaul/job/told_variables.h"

#include <algorithm>
#include <array>

namespace cohaul::job {
namespace {

constexpr std::array kBeginnings = {
    "COHAUL_", "OMP_",    "GOMP_",      "KMP_",     "MKL_",     "ATEN_",      "LD_",       "MALLOC_",         "TMPDIR",
    "RANK",    "MASTER_", "WORLD_SIZE", "LOCAL_",   "OMPI_",    "MPI",        "PMI",       "PRTE_",           "PRRTE_",
    "HYDRA_",  "HYDI_",   "SLURM_",     "TORCHEL",  "PET_",     "JOBSET_",    "JOB_",      "KUBERNETES_SERV", "RAY_",
    "MUNGE_",  "NUMA",    "GLIBC_TUN",  "TORCH_SH", "TORCH_DI", "LibTorch_R", "Torch_ROOT"};
constexpr std::array kSecrets = {"SECRET", "TOKEN", "PASSW", "JWT", "CREDENTIAL", "COOKIE", "AUTH", "_KEY"};

bool contains(std::string_view name, std::string_view part) { return name.find(part) != std::string_view::npos; }

/// A file's name is no secret.
bool is_secret(std::string_view name) {
  if (name.ends_with("_FILE") || name == "COHAUL_TLS_KEY") return false;
  return std::ranges::any_of(kSecrets, [&](const char* part) { return contains(name, part); });
}

}  // namespace

Variables told_variables(const Variables& all) {
  Variables out;
  for (const auto& [name, value] : all)
    if (std::ranges::any_of(kBeginnings, [&, &name = name](const char* part) { return name.starts_with(part); }))
      out[name] = is_secret(name) ? "(set)" : value;
  return out;
}

}  // namespace cohaul::job
