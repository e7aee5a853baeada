#pragma once
// `cohaul kubernetes JOB.toml --image IMAGE …`: the job as a JobSet, for `kubectl apply -f -`. It asks no cluster.

#include <optional>
#include <string>
#include <vector>

#include "cohaul/base/status.h"

namespace cohaul::cli {

struct KubernetesArguments {
  std::string job_file, image;
  std::optional<std::int64_t> workers{}, servers{};
  std::vector<std::string> sets{};       // "KEY=VALUE"
  std::string name{};                    // of the JobSet; empty: the job file's
  std::string space{};                   // its namespace; empty: kubectl's
  std::string secret = "cohaul-secret";  // the Kubernetes secret whose key `secret` pods share
  std::string cpus{}, memory{};          // that each pod asks for: "4" or "500m", "8Gi"; empty: nothing
  std::vector<std::string> volumes{};    // "CLAIM:PATH"
  std::string program{};                 // the worker in the image; empty: cohaul-worker
};

/// The YAML. `warnings` gets what its user should know. Reads the job file alone. Errors: invalid, naming the option, or place and key, and the fix.
Result<std::string> kubernetes_manifest(const KubernetesArguments& arguments, std::vector<std::string>& warnings);

/// Prints it, and warnings on stderr. Returns the exit code.
int run_kubernetes(const KubernetesArguments& arguments);

}  // namespace cohaul::cli
