#pragma once
// Where an engine that starts processes has put this one. Each engine is a pure function of its environment
// variables, in a file of its own. The tests read variables that were recorded from the real ones
// (tools/record_environment).

#include <map>
#include <optional>
#include <string>

#include "cohaul/base/status.h"
#include "cohaul/job/member.h"

namespace cohaul::job {

/// Environment variables by name.
using Variables = std::map<std::string, std::string, std::less<>>;

/// How the tasks learn what the variables do not say.
enum class Directory { none, pmix, pmi };

struct Place {
  std::string engine;                     // for messages: "Slurm"
  int task = 0, tasks = 1;                // of the job
  int tasks_on_host = 0;                  // 0: not known
  std::string run_name{};                 // a name that no other job, step or try of the engine has; empty: not known
  std::string meet_at{};                  // task 0's host, or host:port; empty: not known
  Directory directory = Directory::none;  // where to ask for what is empty
  int directory_fd = -1;                  // pmi: over which it is asked
  bool ends_with_engine = false;  // the process that started this one is the engine's, and lives as long as the job
  Status mistake{};               // why a worker that is alone here is probably a mistake, and what to run instead
  bool on_one_host() const { return tasks_on_host == tasks; }
};

/// Loopback: where the tasks of one host meet.
inline constexpr const char* kThisHost = "127.0.0.1";

// Each returns nothing where its engine did not start this process. Errors: invalid: a variable is missing or is no number, and what to run instead.

/// RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT: torchrun, and everything else that sets them.
Result<std::optional<Place>> four_variables(const Variables& variables);
/// Open MPI's mpirun: OMPI_COMM_WORLD_*, and PMIx.
Result<std::optional<Place>> open_mpi(const Variables& variables);
/// MPICH's mpirun (hydra): PMI_RANK, PMI_SIZE, PMI_FD.
Result<std::optional<Place>> mpich(const Variables& variables);
/// srun: SLURM_STEP_*.
Result<std::optional<Place>> slurm(const Variables& variables);
/// A pod of an Indexed Job: JOB_COMPLETION_INDEX, and what `cohaul kubernetes` sets.
Result<std::optional<Place>> kubernetes(const Variables& variables);
/// A pod of Kubeflow's: PET_*.
Result<std::optional<Place>> kubeflow(const Variables& variables);

/// Returns the place by the first of the above, in this order, that started this process. One task is a mistake where
/// another engine has started several. The user's COHAUL_ENGINE=none means that no engine started it. Errors: as the
/// above, and invalid for another value of that.
Result<std::optional<Place>> find_place(const Variables& variables);
/// Returns the place that an engine has given this process; none where Cohaul's launcher started it, or no launcher
/// at all. Errors: find_place()'s.
Result<std::optional<Place>> place_from_environment();

/// Returns what the task is in the job: the last `servers` tasks are its servers. invalid: they leave no worker.
Result<MemberKey> member_of(const Place& place, int servers);

/// Returns the first host of Slurm's list, such as "node[00-12,20],login".
std::string first_host(std::string_view nodes);
/// Returns how many tasks node `index` has by Slurm's counts, such as "3(x2),1"; 0: they do not say.
int tasks_of_node(std::string_view counts, int index);

}  // namespace cohaul::job
