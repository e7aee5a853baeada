#include "cohaul/cli/kubernetes_manifest.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "cohaul/base/exit_code.h"

namespace cohaul::cli {
namespace {

using Lines = std::vector<std::string>;

/// Returns the text in double quotes, which YAML reads as JSON does.
std::string in_quotes(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// Returns a quoted argument, with $ escaped: Kubernetes replaces $(NAME) in a command, and reads $$ as $.
std::string argument(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '$' ? "$$" : std::string(1, c);
  return in_quotes(out);
}

/// Returns the text as a block of lines if it is read back unchanged, otherwise in quotes. With its end of line.
std::string text_at(const std::string& indent, const std::string& text) {
  const std::size_t last = text.find_last_not_of('\n');
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\n'; };
  if (last == text.npos || is_space(text.front()) || is_space(text[last]) || text.find('\r') != text.npos)
    return in_quotes(text) + "\n";
  const std::size_t newlines = text.size() - 1 - last;
  std::string out = newlines == 0 ? "|-\n" : newlines == 1 ? "|\n" : "|+\n";
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    if (end > at) out += indent + text.substr(at, end - at);
    out += "\n";
    at = end + 1;
  }
  return out;
}

std::string metadata(const Manifest& m) {
  return "metadata:\n  name: " + in_quotes(m.name) + "\n" +
         (m.space.empty() ? "" : "  namespace: " + in_quotes(m.space) + "\n");
}

std::string config_map(const Manifest& m) {
  return "apiVersion: v1\nkind: ConfigMap\n" + metadata(m) + "data:\n  job.toml: " + text_at("    ", m.job_file);
}

Lines environment(const Manifest& m) {
  const auto value = [](const std::string& name, const std::string& text) {
    return Lines{"- name: " + name, "  value: " + in_quotes(text)};
  };
  const auto field = [](const std::string& name, const std::string& path) {
    return Lines{"- name: " + name, "  valueFrom: {fieldRef: {fieldPath: \"" + path + "\"}}"};
  };
  Lines out;
  const auto add = [&](const Lines& lines) { out.insert(out.end(), lines.begin(), lines.end()); };
  add(value("COHAUL_TASKS", std::to_string(m.tasks)));
  add(value("COHAUL_MEET_AT", m.name + "-" + kPodGroup + "-0-0." + m.name));
  add(value("JOBSET_NAME", m.name));
  add(field("JOBSET_RESTART_ATTEMPT", "metadata.annotations['jobset.sigs.k8s.io/restart-attempt']"));
  add(field("JOB_UID", "metadata.labels['batch.kubernetes.io/controller-uid']"));
  if (!m.secret.empty())
    add({"- name: COHAUL_SECRET", "  valueFrom: {secretKeyRef: {name: " + in_quotes(m.secret) + ", key: secret}}"});
  return out;
}

Lines container(const Manifest& m) {
  Lines out{"name: cohaul", "image: " + in_quotes(m.image), "command:"};
  for (const std::string& word : m.command) out.push_back("  - " + argument(word));
  out.push_back("env:");
  for (const std::string& line : environment(m)) out.push_back("  " + line);
  if (!m.cpus.empty() || !m.memory.empty()) {
    out.insert(out.end(), {"resources:", "  requests:"});
    if (!m.cpus.empty()) out.push_back("    cpu: " + in_quotes(m.cpus));
    if (!m.memory.empty()) out.push_back("    memory: " + in_quotes(m.memory));
  }
  out.push_back("volumeMounts:");
  out.push_back(std::string("  - {name: job, mountPath: ") + kPodFolder + ", readOnly: true}");
  for (std::size_t i = 0; i < m.volumes.size(); ++i)
    out.push_back("  - {name: volume-" + std::to_string(i) + ", mountPath: " + in_quotes(m.volumes[i].path) + "}");
  return out;
}

Lines pod(const Manifest& m) {
  Lines out{"restartPolicy: Never",
            "shareProcessNamespace: true  # else the program is process 1, which SIGTERM does not end",
            "terminationGracePeriodSeconds: " + std::to_string(m.grace_s), "containers:"};
  std::string mark = "  - ";
  for (const std::string& line : container(m)) out.push_back(mark + line), mark = "    ";
  out.push_back("volumes:");
  out.push_back("  - {name: job, configMap: {name: " + in_quotes(m.name) + "}}");
  for (std::size_t i = 0; i < m.volumes.size(); ++i)
    out.push_back("  - {name: volume-" + std::to_string(i) +
                  ", persistentVolumeClaim: {claimName: " + in_quotes(m.volumes[i].claim) + "}}");
  return out;
}

Lines job_set(const Manifest& m) {
  const std::string tasks = std::to_string(m.tasks), mistake = std::to_string(kUsersMistake);
  Lines out{"spec:",
            "  network: {enableDNSHostnames: true, publishNotReadyAddresses: true}",
            "  failurePolicy:",
            "    maxRestarts: " + std::to_string(m.restarts),
            "    rules:",
            "      - {name: mistake, action: FailJobSet, onJobFailureReasons: [PodFailurePolicy]}",
            "  replicatedJobs:",
            std::string("    - name: ") + kPodGroup,
            "      replicas: 1",
            "      template:",
            "        spec:",
            "          completionMode: Indexed",
            "          completions: " + tasks,
            "          parallelism: " + tasks,
            "          backoffLimit: 0  # pods start again together, or not at all",
            "          podFailurePolicy:",
            "            rules:",
            "              - action: FailJob  # exit code " + mistake + " is a mistake, which would come again",
            "                onExitCodes: {containerName: cohaul, operator: In, values: [" + mistake + "]}",
            "          template:",
            "            spec:"};
  for (const std::string& line : pod(m)) out.push_back("              " + line);
  return out;
}

}  // namespace

std::string yaml_of(const Manifest& manifest) {
  std::string out;
  for (const std::string& note : manifest.notes) out += note.empty() ? "#\n" : "# " + note + "\n";
  out += config_map(manifest) + "---\napiVersion: jobset.x-k8s.io/v1alpha2\nkind: JobSet\n" + metadata(manifest);
  for (const std::string& line : job_set(manifest)) out += line + "\n";
  return out;
}

}  // namespace cohaul::cli
