// Slurm: the tasks of a step that srun starts.

#include <algorithm>
#include <charconv>

#include "cohaul/job/engines/read.h"

namespace cohaul::job {
namespace {

/// Returns the variable's name; older versions of Slurm have another for some.
std::string_view either(const Variables& v, std::string_view name, std::string_view older) {
  return is_set(v, name) ? name : older;
}

/// Returns the place of a batch script, or of a shell that salloc starts: it runs once, however many tasks the job
/// has.
Result<std::optional<Place>> no_task(const Variables& v) {
  if (!is_set(v, "SLURM_JOB_ID") || !is_set(v, "SLURM_NTASKS")) return std::optional<Place>();
  COHAUL_ASSIGN(const int tasks, number_of(v, "SLURM_NTASKS", 1));
  Place place{.engine = "Slurm"};
  if (tasks == 1) return std::optional(place);
  place.mistake =
      invalid("Slurm's job " + text_of(v, "SLURM_JOB_ID") + " has " + std::to_string(tasks) +
              " tasks, and this process is none of them, but its batch script or shell: start the program with srun, "
              "or set COHAUL_ENGINE=none to run it once");
  return std::optional(place);
}

}  // namespace

std::string first_host(std::string_view nodes) {
  const std::size_t end = std::min(nodes.find(','), nodes.find('['));
  std::string host(nodes.substr(0, end));
  if (end == std::string_view::npos || nodes[end] == ',') return host;
  const std::size_t close = nodes.find(']', end);
  const std::string_view range = nodes.substr(end + 1, close == std::string_view::npos ? close : close - end - 1);
  host += range.substr(0, range.find_first_of(",-"));
  if (close == std::string_view::npos) return host;
  const std::string_view rest = nodes.substr(close + 1);  // as in "rack[1-2]node[7-9]"
  return rest.empty() || rest.front() == ',' ? host : host + first_host(rest);
}

int tasks_of_node(std::string_view counts, int index) {
  while (!counts.empty()) {
    const std::string_view item = counts.substr(0, counts.find(','));
    counts.remove_prefix(std::min(counts.size(), item.size() + 1));
    int tasks = 0, times = 1;
    (void)std::from_chars(item.data(), item.data() + item.size(), tasks);
    if (const std::size_t x = item.find("(x"); x != std::string_view::npos)
      (void)std::from_chars(item.data() + x + 2, item.data() + item.size(), times);
    if (tasks < 1 || times < 1) return 0;
    if (index < times) return tasks;
    index -= times;
  }
  return 0;
}

Result<std::optional<Place>> slurm(const Variables& v) {
  const std::string_view step = either(v, "SLURM_STEP_ID", "SLURM_STEPID");
  if (!is_set(v, step)) return no_task(v);
  Place place{.engine = "Slurm", .ends_with_engine = true};
  COHAUL_TRY(read_task(v, "SLURM_PROCID", either(v, "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"), place));
  if (place.tasks == 1) return std::optional(place);
  COHAUL_ASSIGN(const int node, number_of(v, "SLURM_NODEID", 0));
  place.tasks_on_host = tasks_of_node(text_of(v, either(v, "SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE")), node);
  const std::string_view nodes = either(v, "SLURM_STEP_NODELIST", "SLURM_NODELIST");
  place.meet_at = place.on_one_host() ? kThisHost : first_host(text_of(v, nodes));
  if (place.meet_at.empty()) return invalid("the environment variable " + std::string(nodes) + " names no host");
  const std::string restarts = text_of(v, "SLURM_RESTART_COUNT");
  place.run_name = "Slurm " + text_of(v, "SLURM_CLUSTER_NAME") + " job " + text_of(v, "SLURM_JOB_ID") + " step " +
                   text_of(v, step) + " try " + (restarts.empty() ? "0" : restarts);
  return std::optional(place);
}

}  // namespace cohaul::job
