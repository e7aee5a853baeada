#include "cohaul/job/keys.h"

#include <string>

#include "cohaul/base/limits.h"
#include "cohaul/job/host_port.h"

namespace cohaul::job {
namespace {

using config::KeySpec;
using config::Type;

/// Keys of the processes: where they run, and how they talk.
std::vector<KeySpec> process_keys() {
  return {
      {.key = "job.workers",
       .type = Type::integer,
       .help = "worker processes; --workers N is the same",
       .fallback = 1,
       .min = 1,
       .max = kLaunchedMax,
       .aliases = {"num_workers", "world_size", "nproc", "processes", "n_workers"}},
      {.key = "job.threads",
       .type = Type::integer,
       .help = "threads of a worker (cores / workers, at least 1)",
       .min = 1,
       .max = kThreadsMax,
       .aliases = {"num_threads", "n_threads"}},
      {.key = "job.pin",
       .type = Type::boolean,
       .help =
           "several workers of a host are bound to cores of their own, where workers x threads fit into those that no "
           "other job has and nothing else binds them",
       .fallback = true,
       .aliases = {"bind", "affinity", "pin_threads"}},
      {.key = "job.transport",
       .type = Type::string,
       .help = "how frames travel: arena is the shared memory of one host; auto takes it where it can",
       .fallback = "auto",
       .choices = {"auto", "arena", "tcp"},
       .aliases = {"backend"}},
      {.key = "job.address",
       .type = Type::string,
       .help = "where to listen: an address, name or interface of this host, or * for all; with or without :port",
       .fallback = "127.0.0.1",
       .aliases = {"host", "listen", "master_addr", "ip", "interface"}},
      {.key = "job.port",
       .type = Type::integer,
       .help = "where the processes meet (any; under engines it follows from the run's name)",
       .min = 1,
       .max = 65535,
       .aliases = {"master_port"}},
      {.key = "job.ports",
       .type = Type::string,
       .help = "range of the ports on which processes listen, such as 20000-20100, for firewalls (any)",
       .aliases = {"port_range"}},
      {.key = "job.secret",
       .type = Type::path,
       .help = "file of the secret by which processes on several hosts know each other and encrypt (the one that "
               "`cohaul secret` made)",
       .aliases = {"key", "password"}},
      {.key = "job.tls_cert",
       .type = Type::path,
       .help = "this process's certificate (PEM), in the place of a secret; {role} and {rank} in the path are its own",
       .aliases = {"cert", "certificate"}},
      {.key = "job.tls_key", .type = Type::path, .help = "the certificate's key (PEM), which only its owner may read"},
      {.key = "job.tls_ca",
       .type = Type::path,
       .help = "certificate of the authority that has signed those of all processes (PEM)",
       .aliases = {"ca"}},
      {.key = "job.plaintext",
       .type = Type::boolean,
       .help = "processes on several hosts may talk without a secret and without encryption",
       .fallback = false,
       .aliases = {"insecure"}},
      {.key = "job.allocator",
       .type = Type::string,
       .help =
           "where tensors of 64 KiB and more lie: arena is shared memory, in which other processes of the host read "
           "gradients; torch is LibTorch's own, and gradients are copied",
       .fallback = "arena",
       .choices = {"arena", "torch"},
       .aliases = {"memory", "malloc"}},
      {.key = "job.device", .type = Type::string, .help = "where tensors live", .fallback = "cpu", .choices = {"cpu"}},
      {.key = "job.logs",
       .type = Type::path,
       .help = "folder of logs, one a process (a temporary one, kept after a failure)",
       .aliases = {"log_dir", "log", "logdir"}},
  };
}

/// Keys of failures: how long to wait, and what to do then.
std::vector<KeySpec> failure_keys() {
  return {
      {.key = "job.peer_timeout_s",
       .type = Type::real,
       .help = "seconds without a heartbeat after which a process is lost; a slow worker still sends them",
       .fallback = 10.0,
       .min = 0,
       .max = 1e6,
       .above_min = true,
       .aliases = {"timeout", "heartbeat_timeout", "peer_timeout"}},
      {.key = "job.step_timeout_s",
       .type = Type::real,
       .help = "seconds without progress after which a process is lost, though it is alive",
       .fallback = 600.0,
       .min = 0,
       .max = 1e6,
       .above_min = true,
       .aliases = {"step_timeout"}},
      {.key = "job.join_timeout_s",
       .type = Type::real,
       .help = "seconds that a process may take to join after its start",
       .fallback = 60.0,
       .min = 0,
       .max = 1e6,
       .above_min = true,
       .aliases = {"join_timeout"}},
      {.key = "job.restarts",
       .type = Type::integer,
       .help = "how often the job is started again after a failure, from the newest checkpoint of train.checkpoint; "
               "your mistakes and signals end it",
       .fallback = 0,
       .min = 0,
       .max = 1'000'000,
       .aliases = {"max_restarts", "retries", "restart"}},
      {.key = "job.stop_grace_s",
       .type = Type::real,
       .help =
           "seconds after SIGTERM or Ctrl-C that workers may take to write a checkpoint and end, with train.checkpoint",
       .fallback = 25.0,
       .min = 0,
       .max = 1e6,
       .aliases = {"stop_grace", "grace", "grace_period"}},
  };
}

Status check_ports(const config::Config& job) {
  if (const auto ports = job.find<std::string>("job.ports"))
    if (const auto range = parse_ports(*ports); !range.ok())
      return job.mistake("job.ports", std::string(range.status().message()));
  const auto at = parse_host_port(job.get<std::string>("job.address"));
  if (!at.ok()) return job.mistake("job.address", std::string(at.status().message()));
  if (at->port != 0 && job.has("job.port"))
    return job.mistake("job.port", "job.address says port " + std::to_string(at->port) + ": leave one of them out");
  return {};
}

/// Checks that all three are set, or none.
Status check_certificates(const config::Config& job) {
  constexpr const char* kKeys[] = {"job.tls_cert", "job.tls_key", "job.tls_ca"};
  const char *there = nullptr, *missing = nullptr;
  for (const char* key : kKeys) (job.has(key) ? there : missing) = key;
  if (there != nullptr && missing != nullptr)
    return job.mistake(there, std::string("it needs ") + missing + " as well");
  if (there != nullptr && job.has("job.secret"))
    return job.mistake("job.secret", "the job has certificates (job.tls_cert): leave one of them out");
  return {};
}

}  // namespace

std::vector<config::KeySpec> job_keys() { return config::concatenate({process_keys(), failure_keys()}); }

Status check_processes(const config::Config& job) {
  COHAUL_TRY(check_ports(job));
  return check_certificates(job);
}

LaunchOptions launch_options_of(const config::Config& job) {
  LaunchOptions out;
  out.workers = static_cast<int>(job.get<std::int64_t>("job.workers"));
  out.pin = job.get<bool>("job.pin");
  out.threads = static_cast<int>(job.get_or<std::int64_t>("job.threads", 0));
  out.logs = job.get_or("job.logs", std::string());
  out.address = job.get<std::string>("job.address");
  out.port = static_cast<std::uint16_t>(job.get_or<std::int64_t>("job.port", 0));
  if (const auto ports = job.find<std::string>("job.ports"))
    if (const auto range = parse_ports(*ports); range.ok()) out.ports = *range;
  out.secret_file = job.get_or("job.secret", std::string());
  out.certificates = {.certificate = job.get_or("job.tls_cert", std::string()),
                      .key = job.get_or("job.tls_key", std::string()),
                      .authority = job.get_or("job.tls_ca", std::string())};
  out.plaintext = job.get<bool>("job.plaintext");
  out.transport = transport::form_of(job.get<std::string>("job.transport")).value();
  out.peer_timeout_s = job.get<double>("job.peer_timeout_s");
  out.step_timeout_s = job.get<double>("job.step_timeout_s");
  out.join_timeout_s = job.get<double>("job.join_timeout_s");
  out.stop_grace_s = job.get<double>("job.stop_grace_s");
  return out;
}

}  // namespace cohaul::job
