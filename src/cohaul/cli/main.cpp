// The command `cohaul`: parses its arguments and calls the subcommand. It does not link LibTorch.

#include <algorithm>
#include <iostream>
#include <optional>

#include <CLI/CLI.hpp>

#include "cohaul/base/exit_code.h"
#include "cohaul/cli/agent_command.h"
#include "cohaul/cli/bench_command.h"
#include "cohaul/cli/check_hosts_command.h"
#include "cohaul/cli/checkpoint_command.h"
#include "cohaul/cli/demo_command.h"
#include "cohaul/cli/doctor_command.h"
#include "cohaul/cli/keys_command.h"
#include "cohaul/cli/kubernetes_command.h"
#include "cohaul/cli/launch_command.h"
#include "cohaul/cli/secret_command.h"
#include "cohaul/cli/train_command.h"
#include "cohaul/config/nearest.h"
#include "cohaul/config/schema.h"

namespace {

using namespace cohaul::cli;

int said(const cohaul::Status& status) {
  if (!status.ok()) std::cerr << "cohaul: " << status.message() << "\n";
  return exit_code(status.code());
}

void add_hosts(CLI::App& app, HostsOption& a) {
  app.add_option("--hosts", a.hosts, "where the workers run, over ssh: node1:2,node2:2");
  app.add_option("--ssh", a.ssh, "the ssh to use, with its options")->capture_default_str();
}

CLI::App* add_train(CLI::App& app, TrainArguments& a) {
  CLI::App* train = app.add_subcommand("train", "Train the model of a job file");
  train->add_option("JOB.toml", a.job_file, "the job")->required();
  train->add_option("--set", a.sets, "KEY=VALUE: sets a key over the job file; may be repeated")
      ->allow_extra_args(false);
  train->add_option("--workers", a.workers,
                    "worker processes (job.workers); under mpirun, srun or torchrun the tasks that they start");
  train->add_option("--record", a.record, "where the record goes: JSON lines to a file, or - for stdout");
  train->add_option("--csv", a.csv, "where a table of steps and evaluations goes: a file, or - for stdout");
  train->add_option("--tensorboard", a.tensorboard, "folder for TensorBoard's event files");
  train->add_option("--program", a.program, "your own worker, built with worker_main");
  train->add_flag("--quiet", a.quiet, "no progress on stderr");
  add_hosts(*train, a.on);
  return train;
}

CLI::App* add_launch(CLI::App& app, LaunchArguments& a) {
  CLI::App* launch = app.add_subcommand("launch", "Run a program of your own as the workers of a job");
  launch
      ->add_option("--workers", a.workers, "worker processes; under mpirun, srun or torchrun the tasks that they start")
      ->check(CLI::Range(1, 1024));
  launch->add_option("--servers", a.servers, "server processes; 0: servers, if any, are threads of the workers")
      ->check(CLI::Range(0, 1024));
  launch->add_option("--logs", a.logs, "folder of logs, one a process");
  const auto add_timeout = [&](const char* option, double& seconds, const char* what) {
    launch->add_option(option, seconds, what)->check(CLI::Range(0.001, 1e6))->capture_default_str();
  };
  add_timeout("--peer-timeout", a.peer_timeout_s, "seconds without a heartbeat after which a process is lost");
  add_timeout("--step-timeout", a.step_timeout_s, "seconds without progress after which a process is lost");
  add_timeout("--join-timeout", a.join_timeout_s, "seconds that a process may take to join");
  launch->add_flag(
      "--pin", a.pin,
      "bind each worker to cores of its own: OMP_NUM_THREADS of them, else cores / workers, where they fit");
  add_hosts(*launch, a.on);
  launch->add_option("program", a.command, "after --: the program and its arguments")->required();
  return launch;
}

CLI::App* add_demo(CLI::App& app, DemoArguments& a) {
  CLI::App* demo = app.add_subcommand("demo", "Train one model in every mode, side by side");
  demo->add_option("--jobs", a.jobs, "folder of softmax.toml and cnn.toml (default: the shipped ones)");
  demo->add_option("--steps", a.steps, "updates of each mode")->check(CLI::Range(1, 1000000))->capture_default_str();
  return demo;
}

CLI::App* add_keys(CLI::App& app, KeysArguments& a) {
  CLI::App* keys = app.add_subcommand("keys", "List the keys of a job: all, or those that hold PATTERN");
  keys->add_option("PATTERN", a.pattern, "a part of a key, or a pattern with *: optimizer, schedule.*");
  keys->add_flag("--markdown", a.markdown, "as a Markdown table");
  return keys;
}

CLI::App* add_checkpoint(CLI::App& app, CheckpointArguments& a) {
  CLI::App* checkpoint = app.add_subcommand("checkpoint", "List and verify the checkpoints of a folder");
  checkpoint->add_option("FOLDER", a.folder, "a train.checkpoint, or one checkpoint in it")->required();
  checkpoint->add_option("--export", a.export_file, "write the newest good one's parameters as a safetensors file");
  return checkpoint;
}

CLI::App* add_check_hosts(CLI::App& app, CheckHostsArguments& a) {
  CLI::App* check = app.add_subcommand("check-hosts", "Measure the network between every two hosts of a list");
  check->add_option("HOSTS", a.on.hosts, "the hosts: a,b,c")->required();
  check->add_option("--ssh", a.on.ssh, "the ssh to use, with its options")->capture_default_str();
  check->add_option("--seconds", a.seconds, "how long each of a pair's three measurements takes")
      ->check(CLI::Range(0.01, 60.0))
      ->capture_default_str();
  check->add_flag("--json", a.json, "print JSON instead of a table");
  return check;
}

CLI::App* add_probe(CLI::App& app, ProbeArguments& a) {
  CLI::App* probe = app.add_subcommand("probe", "The part of check-hosts that runs on each host")->group("");
  probe->add_option("--names", a.names);
  probe->add_option("--seconds", a.seconds);
  probe->add_flag("--json", a.json);
  return probe;
}

CLI::App* add_kubernetes(CLI::App& app, KubernetesArguments& a) {
  CLI::App* kubernetes = app.add_subcommand(
      "kubernetes", "Print a job as a JobSet, a pod for each worker and server: … | kubectl apply -f -");
  kubernetes->add_option("JOB.toml", a.job_file, "the job")->required();
  kubernetes->add_option("--image", a.image, "the image, which has cohaul in its PATH")->required();
  kubernetes->add_option("--workers", a.workers, "workers (job.workers)");
  kubernetes->add_option("--servers", a.servers, "server processes (strategy.servers)");
  kubernetes->add_option("--set", a.sets, "KEY=VALUE: sets a key over the job file; may be repeated")
      ->allow_extra_args(false);
  kubernetes->add_option("--volume", a.volumes, "CLAIM:PATH: mounts a PersistentVolumeClaim; may be repeated")
      ->allow_extra_args(false);
  kubernetes->add_option("--name", a.name, "name of the JobSet (default: the job file's)");
  kubernetes->add_option("--namespace", a.space, "namespace that it runs in (default: kubectl's)");
  kubernetes->add_option("--secret", a.secret, "the Kubernetes secret whose key `secret` all pods share")
      ->capture_default_str();
  kubernetes->add_option("--cpus", a.cpus, "cores that each pod asks for, as 4 or 500m; also the threads of a worker");
  kubernetes->add_option("--memory", a.memory, "memory that each pod asks for, as 8Gi");
  kubernetes->add_option("--program", a.program, "your own worker, built with worker_main: its path in the image");
  return kubernetes;
}

CLI::App* add_doctor(CLI::App& app, DoctorArguments& a) {
  CLI::App* doctor = app.add_subcommand("doctor", "Print what a bug report needs, and what is wrong on this machine");
  doctor->add_option("--workers", a.workers, "size of the job that limits are compared with (one worker a core)")
      ->check(CLI::Range(1, 1024));
  doctor->add_flag("--json", a.json, "print JSON instead of text");
  return doctor;
}

struct BenchArguments {
  std::string what;
};

CLI::App* add_bench(CLI::App& app, BenchArguments& a) {
  CLI::App* bench =
      app.add_subcommand("bench", "Measure, beside the peers: cohaul bench WHAT [--set …] [--reps N] [--json FILE]");
  bench->add_option("WHAT", a.what, "step, allreduce, parameters, checkpoint, evaluation, hosts, start")->required();
  bench->prefix_command();
  return bench;
}

/// Returns the error for a first word that is not a command; empty if it is one.
std::string unknown_command(const CLI::App& app, const std::string& word) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({}))
    if (!command->get_group().empty() || command->get_name() == word) names.push_back(command->get_name());
  if (word.starts_with("-") || std::ranges::find(names, word) != names.end()) return {};
  const std::string best = cohaul::config::nearest(word, names);
  return "unknown command " + word + (best.empty() ? "" : "; did you mean " + best + "?") +
         " Commands are: " + cohaul::config::listed(names);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Cohaul trains LibTorch models on many processes.", "cohaul"};
  app.set_version_flag("--version", "cohaul " COHAUL_VERSION);
  app.require_subcommand(1);
  TrainArguments train;
  LaunchArguments launch;
  DemoArguments demo;
  KeysArguments keys;
  CheckpointArguments checkpoint;
  KubernetesArguments kubernetes;
  BenchArguments bench;
  CheckHostsArguments check_hosts;
  ProbeArguments probe;
  DoctorArguments doctor;
  CLI::App* const train_app = add_train(app, train);
  CLI::App* const launch_app = add_launch(app, launch);
  CLI::App* const demo_app = add_demo(app, demo);
  CLI::App* const keys_app = add_keys(app, keys);
  CLI::App* const checkpoint_app = add_checkpoint(app, checkpoint);
  CLI::App* const kubernetes_app = add_kubernetes(app, kubernetes);
  CLI::App* const bench_app = add_bench(app, bench);
  CLI::App* const check_hosts_app = add_check_hosts(app, check_hosts);
  CLI::App* const probe_app = add_probe(app, probe);
  CLI::App* const doctor_app = add_doctor(app, doctor);
  CLI::App* const secret_app =
      app.add_subcommand("secret", "Make the secret by which your processes on several hosts know each other");
  CLI::App* const agent_app = app.add_subcommand("agent", "The part of --hosts that runs on each host")->group("");
  if (const std::string unknown = argc > 1 ? unknown_command(app, argv[1]) : ""; !unknown.empty()) {
    std::cerr << "cohaul: " << unknown << "\n";
    return cohaul::kUsersMistake;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked) {  // help, version
    return app.exit(asked);
  } catch (const CLI::ParseError& error) {
    std::cerr << "cohaul: " << error.what() << "; see cohaul --help\n";
    return cohaul::kUsersMistake;
  }
  if (*train_app) return run_train(train);
  if (*launch_app) return run_launch(launch);
  if (*demo_app) return run_demo(demo);
  if (*keys_app) return run_keys(keys);
  if (*checkpoint_app) return run_checkpoint(checkpoint);
  if (*kubernetes_app) return run_kubernetes(kubernetes);
  if (*secret_app) return run_secret();
  if (*agent_app) return run_agent();
  if (*check_hosts_app) return run_check_hosts(check_hosts);
  if (*probe_app) return run_probe(probe);
  if (*doctor_app) return run_doctor(doctor);
  if (*bench_app) return said(run_bench(bench.what, bench_app->remaining()));
  return cohaul::kUsersMistake;
}
