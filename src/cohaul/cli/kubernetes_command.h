#pragma once
// `cohaul kubernetes JOB.toml --image IMAGE …`: prints the job as a JobSet, for `kubectl apply -f -`. It does not contact a cluster.

#include <optional>
#include <string>
#include <vector>

#include "cohaul/base/status.h"

namespace cohaul::cli {

struct KubernetesArguments {
  std::string job_file, image;
  std::optional<std::int64_t> workers{}, servers{};
  std::vector<std::string> sets{};       // "KEY=VALUE"
  std::string name{};                    // name of the JobSet; empty: that of the job file
  std::string space{};                   // its namespace; empty: kubectl's default
  std::string secret = "cohaul-secret";  // the Kubernetes secret whose key `secret` all pods share
  std::string cpus{}, memory{};          // requested for each pod: "4" or "500m", "8Gi"; empty: no request
  std::vector<std::string> volumes{};    // "CLAIM:PATH"
  std::string program{};                 // the worker's program in the image; empty: cohaul-worker
};

/// Returns the YAML, and adds warnings for the user to `warnings`. Reads the job file alone. Errors: invalid, naming the option, or place and key,
/// and the fix.
Result<std::string> kubernetes_manifest(const KubernetesArguments& arguments, std::vector<std::string>& warnings);

/// Prints the YAML, and warnings to stderr. Returns the exit code.
int run_kubernetes(const KubernetesArguments& arguments);

}  // namespace cohaul::cli
