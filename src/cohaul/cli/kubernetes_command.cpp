#include "cohaul/cli/kubernetes_command.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>

#include "cohaul/base/exit_code.h"
#include "cohaul/base/limits.h"
#include "cohaul/cli/job_schema.h"
#include "cohaul/cli/kubernetes_manifest.h"
#include "cohaul/cli/resolve.h"
#include "cohaul/config/config.h"

namespace cohaul::cli {
namespace {

using config::Config;
using Int = std::int64_t;

/// How many seconds after the first pod the last one may start. Images are large, so this is long.
constexpr const char* kJoinTimeout = "600";

bool is_of(const std::string& text, std::string_view more) {
  return std::ranges::all_of(
      text, [&](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || more.find(c) != more.npos; });
}

/// Checks that Kubernetes accepts the name: by RFC 1123, and by RFC 1035 if it begins with a letter.
Status check_name(const std::string& option, const std::string& name, std::string_view more, std::size_t most) {
  if (name.size() > most)
    return invalid(option + " " + name + ": has " + std::to_string(name.size()) + " characters, and may have " +
                   std::to_string(most) + " here");
  const std::string first = name.substr(0, 1), last = name.empty() ? "" : name.substr(name.size() - 1);
  if (!name.empty() && is_of(name, more) && is_of(first, "") && is_of(last, "")) return {};
  return invalid(option + " " + name + ": Kubernetes takes names of small letters, digits and -, as my-job-2");
}

std::string name_of(const std::string& job_file) {
  std::string out = std::filesystem::path(job_file).stem().string();
  for (char& c : out) {
    const char small = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    c = is_of(std::string(1, small), "") ? small : '-';
  }
  out.erase(0, out.find_first_not_of('-'));
  out.erase(out.find_last_not_of('-') + 1);
  return out.empty() || std::isdigit(static_cast<unsigned char>(out.front())) ? "job-" + out : out;
}

/// Checks the job's name. A pod's name consists of it, the group's name, two numbers and five letters.
Status check_job_name(const std::string& name, Int tasks) {
  const std::size_t rest =
      std::string("--0--xxxxx").size() + std::string(kPodGroup).size() + std::to_string(tasks - 1).size();
  COHAUL_TRY(check_name("--name", name, "-", kNameMax - rest));
  if (std::isdigit(static_cast<unsigned char>(name.front())))
    return invalid("--name " + name + ": must begin with a letter, since it is a host's name, too");
  return {};
}

/// Returns the number before one of the units; nothing if the text is no such quantity.
std::optional<double> quantity(const std::string& text, std::initializer_list<std::string_view> units) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (error != std::errc() || !(value > 0) || std::ranges::find(units, unit) == units.end()) return std::nullopt;
  return value;
}

Status check_resources(const KubernetesArguments& a) {
  if (!a.cpus.empty() && !quantity(a.cpus, {"", "m"}))
    return invalid("--cpus " + a.cpus + ": must be a number of cores, as 4, 0.5 or 500m");
  if (!a.memory.empty() && !quantity(a.memory, {"", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"}))
    return invalid("--memory " + a.memory + ": must be a number of bytes, as 8Gi or 500M");
  return {};
}

Result<std::vector<VolumeClaim>> claims_of(const std::vector<std::string>& volumes) {
  std::vector<VolumeClaim> out;
  for (const std::string& text : volumes) {
    const std::size_t colon = text.find(':');
    if (colon == std::string::npos || text.substr(colon + 1, 1) != "/")
      return invalid("--volume " + text +
                     ": must be CLAIM:PATH, the name of a PersistentVolumeClaim and an absolute path");
    VolumeClaim volume{text.substr(0, colon),
                       std::filesystem::path(text.substr(colon + 1)).lexically_normal().string()};
    COHAUL_TRY(check_name("--volume", volume.claim, "-.", 253));
    if (volume.path.size() > 1 && volume.path.back() == '/') volume.path.pop_back();
    if (volume.path == "/" || volume.path == kPodFolder)
      return invalid("--volume " + text + ": choose another path: something is there already");
    out.push_back(std::move(volume));
  }
  return out;
}

bool is_below(const std::string& path, const std::string& folder) {
  return path == folder || path.starts_with(folder + "/");
}

/// A key of the job that is a path in a pod.
struct PodPath {
  const char* key;
  bool is_written;
};
constexpr PodPath kPodPaths[] = {{"train.checkpoint", true}, {"train.save", true},  {"job.logs", true},
                                 {"data.path", false},       {"train.init", false}, {"train.resume", false}};

/// Checks that paths which pods write are on a volume; for paths which they read, which may be in the image, it adds warnings. here: the job with its
/// places on this host; there: with its paths in a pod.
Status check_paths(const Config& here, const Config& there, const std::vector<VolumeClaim>& volumes,
                   std::vector<std::string>& warnings) {
  constexpr const char* kFix = ": give --volume CLAIM:/data, and a path in /data";
  for (const auto& [key, is_written] : kPodPaths) {
    const std::string path = there.get_or(key, std::string());
    if (!path.starts_with('/')) continue;  // no path, or a word
    if (std::ranges::any_of(volumes, [&](const VolumeClaim& v) { return is_below(path, v.path); })) continue;
    const std::string what = here.where(key) + ": " + key + ": ";
    if (is_below(path, kPodFolder)) return invalid(what + "a pod has the job file, and nothing beside it" + kFix);
    if (is_written) return invalid(what + path + " lies on no volume, and would be lost with its pod" + kFix);
    warnings.push_back(what + path + " lies on no volume, so the image must have it; otherwise" +
                       std::string(kFix + 1));
  }
  return {};
}

/// Refuses keys that a pod cannot follow.
Status check_keys(const Config& job) {
  if (job.has("job.secret"))
    return job.mistake("job.secret", "pods take the secret from Kubernetes (--secret NAME): leave the key out");
  if (job.set_by_user("train.resume") && job.get<std::string>("train.resume") != "auto" &&
      job.get<Int>("job.restarts") > 0)
    return job.mistake("train.resume",
                       "job.restarts starts pods again with the same command, which would not go on from their newest "
                       "checkpoint: leave one of the keys out");
  return {};
}

/// Returns the --set options of a pod's command, the user's first. A relative path among them refers to this host's folder, so it is checked and
/// passed on as an absolute path.
Result<std::vector<std::string>> sets_of(const KubernetesArguments& a, const Config& job) {
  std::vector<std::string> out;
  for (const std::string& set : a.sets) {
    const std::string key = set.substr(0, set.find('='));
    const auto spec = job_schema(!a.program.empty()).spec_of(key);
    const bool is_path = key == "train.resume" || (spec && spec->type == config::Type::path);
    out.push_back(is_path ? key + "=" + job.get_or(key, std::string()) : set);
  }
  if (a.servers) out.push_back("strategy.servers=" + std::to_string(*a.servers));
  if (job.get<Int>("job.restarts") > 0) out.push_back("job.restarts=0");  // the JobSet starts them again
  if (!a.cpus.empty() && !job.set_by_user("job.threads")) {
    const double cores = *quantity(a.cpus, {"", "m"}) / (a.cpus.ends_with('m') ? 1000 : 1);
    out.push_back("job.threads=" + std::to_string(std::max<Int>(1, static_cast<Int>(cores))));
  }
  if (!job.set_by_user("job.join_timeout_s")) out.push_back(std::string("job.join_timeout_s=") + kJoinTimeout);
  return out;
}

std::vector<std::string> command_of(const KubernetesArguments& a, const std::vector<std::string>& sets, Int workers) {
  std::vector<std::string> out{"cohaul", "train", kPodJobFile, "--workers", std::to_string(workers)};
  for (const std::string& set : sets) out.insert(out.end(), {"--set", set});
  if (!a.program.empty()) out.insert(out.end(), {"--program", a.program});
  return out;
}

std::string counted(Int n, const std::string& what) { return std::to_string(n) + " " + what + (n == 1 ? "" : "s"); }

/// Returns notes for the user: what to know, and what to do.
std::vector<std::string> notes_of(const KubernetesArguments& a, const Config& job, const Manifest& m, Int servers) {
  const std::string kubectl = "  kubectl " + (m.space.empty() ? "" : "-n " + m.space + " ");
  std::vector<std::string> out{
      std::filesystem::path(a.job_file).filename().string() + " on " + counted(m.tasks - servers, "worker") +
          (servers > 0 ? " and " + counted(servers, "server") : "") +
          ", by `cohaul kubernetes`, for a cluster that has JobSet (https://jobset.sigs.k8s.io).",
      ""};
  if (!m.secret.empty()) {
    out.push_back("  cohaul secret    # once: it encrypts what pods send each other");
    out.push_back(kubectl + "create secret generic " + m.secret +
                  " --from-file=secret=$HOME/.config/cohaul/secret    # once");
  }
  out.push_back(kubectl + "apply -f FILE");
  out.push_back(kubectl + "logs -f -l jobset.sigs.k8s.io/jobset-name=" + m.name +
                ",batch.kubernetes.io/job-completion-index=0    # worker 0");
  out.push_back(kubectl + "delete -f FILE    # before it is applied again");
  out.insert(out.end(), {"", "The image has cohaul, cohaul-worker and cohaul-server in one folder of its PATH."});
  if (!job.has("data.path"))
    out.push_back("The data set is the image's, too (in Debian: apt-get install dataset-fashion-mnist).");
  if (!m.volumes.empty() && m.tasks > 1)
    out.push_back(
        "All pods mount the volumes. Where they run on several nodes, the claims need the access mode ReadWriteMany.");
  return out;
}

}  // namespace

Result<std::string> kubernetes_manifest(const KubernetesArguments& a, std::vector<std::string>& warnings) {
  Request request{.job_file = a.job_file, .sets = a.sets, .workers = a.workers, .own_program = !a.program.empty()};
  if (a.servers) request.sets.push_back("strategy.servers=" + std::to_string(*a.servers));
  COHAUL_ASSIGN(const Config job, resolve(request));
  std::ifstream in(a.job_file);
  const std::string text((std::istreambuf_iterator<char>(in)), {});
  COHAUL_ASSIGN(const Config in_pod, resolve_text(text, kPodJobFile, request));

  const Int servers = job.get_or<Int>("strategy.servers", 0);
  Manifest m{.name = a.name.empty() ? name_of(a.job_file) : a.name, .space = a.space, .image = a.image};
  m.tasks = job.get<Int>("job.workers") + servers;
  m.restarts = job.get<Int>("job.restarts");
  m.job_file = text;
  m.cpus = a.cpus, m.memory = a.memory;
  if (m.tasks > 1 && !job.get<bool>("job.plaintext")) m.secret = a.secret;
  if (job.has("train.checkpoint"))
    m.grace_s = std::max(m.grace_s, static_cast<Int>(std::ceil(job.get<double>("job.stop_grace_s"))) + 5);
  COHAUL_TRY(check_job_name(m.name, m.tasks));
  if (!a.space.empty()) COHAUL_TRY(check_name("--namespace", a.space, "-", kNameMax));
  COHAUL_TRY(check_name("--secret", a.secret, "-.", 253));
  if (a.image.empty() || a.image.find_first_of(" \t\n") != std::string::npos)
    return invalid("--image " + a.image + ": must be the name of an image, as registry/cohaul:0.1");
  COHAUL_TRY(check_resources(a));
  COHAUL_ASSIGN(m.volumes, claims_of(a.volumes));
  COHAUL_TRY(check_keys(job));
  COHAUL_TRY(check_paths(job, in_pod, m.volumes, warnings));
  COHAUL_ASSIGN(const std::vector<std::string> sets, sets_of(a, job));
  m.command = command_of(a, sets, job.get<Int>("job.workers"));
  m.notes = notes_of(a, job, m, servers);
  return yaml_of(m);
}

int run_kubernetes(const KubernetesArguments& arguments) {
  std::vector<std::string> warnings;
  const Result<std::string> manifest = kubernetes_manifest(arguments, warnings);
  if (!manifest.ok()) {
    std::cerr << "cohaul: " << manifest.status().message() << "\n";
    return exit_code(manifest.status().code());
  }
  for (const std::string& warning : warnings) std::cerr << "cohaul: " << warning << "\n";
  std::cout << *manifest << std::flush;
  return kDone;
}

}  // namespace cohaul::cli
