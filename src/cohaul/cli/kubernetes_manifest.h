#pragma once
// Makes the YAML of a job's JobSet (jobset.x-k8s.io/v1alpha2), and of the ConfigMap that contains its job file.

#include <cstdint>
#include <string>
#include <vector>

namespace cohaul::cli {

/// The path of the job file in a pod.
inline constexpr const char* kPodFolder = "/etc/cohaul";
inline constexpr const char* kPodJobFile = "/etc/cohaul/job.toml";
/// The name of the JobSet's one group of pods. A pod is called NAME-task-0-INDEX-xxxxx.
inline constexpr const char* kPodGroup = "task";

struct VolumeClaim {
  std::string claim, path;
};

struct Manifest {
  std::vector<std::string> notes{};  // comments at the top, a line each
  std::string name, space{}, image;  // space: the namespace; empty: none
  std::int64_t tasks = 1;            // pods
  std::int64_t restarts = 0, grace_s = 30;
  std::string job_file{};              // the job file's text
  std::vector<std::string> command{};  // the command of each pod
  std::string secret{};                // empty: none
  std::string cpus{}, memory{};        // empty: no request
  std::vector<VolumeClaim> volumes{};
};

/// Returns the YAML. Texts are quoted so that they are read back unchanged, whatever they contain.
std::string yaml_of(const Manifest& manifest);

}  // namespace cohaul::cli
