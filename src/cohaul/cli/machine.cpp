#include "cohaul/cli/machine.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>

#include "cohaul/job/cores.h"
#include "cohaul/job/host_port.h"
#include "cohaul/job/kernel_files.h"

namespace cohaul::cli {
namespace {

namespace fs = std::filesystem;
using job::first_line;

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream in(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::string trimmed(std::string text) {
  text.erase(0, text.find_first_not_of(" \t\""));
  text.erase(text.find_last_not_of(" \t\"\n") + 1);
  return text;
}

/// What stands behind the name and its separator: "MemTotal:  8 kB" → "8 kB".
std::string value_of(const std::vector<std::string>& lines, const std::string& name, char separator = ':') {
  for (const std::string& line : lines) {
    const std::size_t at = line.find(separator);
    if (at != std::string::npos && trimmed(line.substr(0, at)) == name) return trimmed(line.substr(at + 1));
  }
  return "";
}

Limit number(const std::string& text) {
  std::uint64_t value = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  return read.ec == std::errc() ? Limit(value) : std::nullopt;
}

std::uint64_t kib(const std::vector<std::string>& lines, const std::string& name) {
  return number(value_of(lines, name)).value_or(0) * 1024;
}

/// The soft limit of a line of /proc/self/limits.
Limit limit_of(const std::vector<std::string>& lines, std::string_view name) {
  for (const std::string& line : lines)
    if (line.starts_with(name)) return number(trimmed(line.substr(name.size())));
  return std::nullopt;
}

Limits read_limits(const std::string& root) {
  const std::vector<std::string> lines = lines_of(root + "/proc/self/limits");
  return {limit_of(lines, "Max open files"), limit_of(lines, "Max address space"), limit_of(lines, "Max file size"),
          limit_of(lines, "Max locked memory"), limit_of(lines, "Max processes")};
}

/// The least that its cgroups leave: v1 says a huge number where it means none.
void read_cgroup(const std::string& root, Memory& memory) {
  std::uint64_t least_left = 0;
  for (const std::string& folder : job::control_groups("memory", root)) {
    Limit limit = number(first_line(folder + "/memory.max"));
    if (!limit) limit = number(first_line(folder + "/memory.limit_in_bytes"));
    if (!limit || *limit >= memory.total) continue;
    Limit used = number(first_line(folder + "/memory.current"));
    if (!used) used = number(first_line(folder + "/memory.usage_in_bytes"));
    const std::uint64_t left = *limit - std::min(*limit, used.value_or(0));
    if (memory.cgroup_limit && left >= least_left) continue;
    least_left = left;
    memory.cgroup_limit = limit;
    memory.cgroup_used = used.value_or(0);
  }
}

std::vector<NumaNode> read_nodes(const std::string& root) {
  std::vector<NumaNode> nodes;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root + "/sys/devices/system/node", error)) {
    const std::string name = entry.path().filename();
    const Limit id = name.starts_with("node") ? number(name.substr(4)) : std::nullopt;
    if (!id) continue;
    const std::string begin = "Node " + std::to_string(*id) + " MemTotal";
    nodes.push_back(
        {static_cast<int>(*id), first_line(entry.path() / "cpulist"), kib(lines_of(entry.path() / "meminfo"), begin)});
  }
  std::ranges::sort(nodes, {}, &NumaNode::id);
  return nodes;
}

std::string processor_of(const std::vector<std::string>& cpuinfo) {
  const std::string model = value_of(cpuinfo, "model name");
  if (!model.empty()) return model;
  const std::string part = value_of(cpuinfo, "CPU part");  // ARM tells numbers
  return part.empty() ? "" : "implementer " + value_of(cpuinfo, "CPU implementer") + ", part " + part;
}

/// Numeric; empty: of another family.
std::string address_of(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address != nullptr && address->sa_family == AF_INET)
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text, sizeof text);
  if (address != nullptr && address->sa_family == AF_INET6)
    ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, text, sizeof text);
  return text;
}

}  // namespace

Machine read_machine(const std::string& root) {
  Machine m;
  m.kernel = first_line(root + "/proc/sys/kernel/osrelease");
  m.distribution = value_of(lines_of(root + "/etc/os-release"), "PRETTY_NAME", '=');
  m.processor = processor_of(lines_of(root + "/proc/cpuinfo"));
  m.affinity = value_of(lines_of(root + "/proc/self/status"), "Cpus_allowed_list");
  m.quota = job::quota_cores(root);
  m.cores = static_cast<int>(job::cpus_of(m.affinity).size());
  if (m.quota > 0) m.cores = std::min(m.cores, m.quota);
  m.nodes = read_nodes(root);
  const std::vector<std::string> memory = lines_of(root + "/proc/meminfo");
  m.memory = {kib(memory, "MemTotal"), kib(memory, "MemAvailable"), kib(memory, "SwapTotal"), {}, 0};
  read_cgroup(root, m.memory);
  m.limits = read_limits(root);
  struct statvfs shm {};
  if (::statvfs((root + "/dev/shm").c_str(), &shm) == 0) {
    m.shm_bytes = shm.f_blocks * shm.f_frsize;
    m.shm_free = shm.f_bavail * shm.f_frsize;
  }
  return m;
}

Network read_network() {
  Network out;
  char name[256] = "";
  if (::gethostname(name, sizeof name - 1) == 0) out.host = name;
  if (const auto means = job::resolve(out.host); means.ok()) out.means = *means;
  if (const auto outward = job::outward_addresses(); outward.ok()) out.addresses = *outward;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return out;
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(list, ::freeifaddrs);
  for (const ifaddrs* i = list; i != nullptr; i = i->ifa_next)
    if (const std::string address = address_of(i->ifa_addr); !address.empty() && (i->ifa_flags & IFF_UP) != 0)
      out.interfaces[i->ifa_name].push_back(address);
  return out;
}

std::vector<std::string> refused_calls() {
  const int fd = ::memfd_create("cohaul doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) return {std::string("memfd_create: ") + std::strerror(errno)};
  std::vector<std::string> out;
  if (::ftruncate(fd, 4096) != 0 || ::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) != 0)
    out.push_back(std::string("sealing a memory file: ") + std::strerror(errno));
  ::close(fd);
  return out;
}

}  // namespace cohaul::cli
