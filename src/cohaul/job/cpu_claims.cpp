#include "cohaul/job/cpu_claims.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <tuple>
#include <utility>

#include "cohaul/job/cores.h"
#include "cohaul/job/kernel_files.h"

namespace cohaul::job {
namespace {

namespace fs = std::filesystem;

constexpr int kLockTries = 200;  // a millisecond apart

int number_in(const std::string& path) {
  const std::string line = first_line(path);
  int out = 0;
  std::from_chars(line.data(), line.data() + line.size(), out);
  return out;
}

int node_of(const std::string& cpu_folder) {
  std::error_code error;
  for (fs::directory_iterator it(cpu_folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename();
    int node = 0;
    if (name.starts_with("node") &&
        std::from_chars(name.data() + 4, name.data() + name.size(), node).ptr == name.data() + name.size())
      return node;
  }
  return 0;
}

/// A name that one process of the host holds. An invalid descriptor: another one has it.
transport::Descriptor hold(const std::string& name) {
  transport::Descriptor socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());  // the 0 before it: a name without a file
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (socket.get() >= 0 && ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) return {};
  return socket;
}

/// Only one launcher claims at a time, or two could take half each of what one needs.
transport::Descriptor lock() {
  for (int i = 0; i < kLockTries; ++i) {
    if (transport::Descriptor held = hold("cohaul/cpus"); held.get() >= 0) return held;
    ::poll(nullptr, 0, 1);
  }
  return {};
}

/// Neighbours in memory first; within a node one CPU of each core before the second of any.
std::vector<Cpu> in_order(std::vector<Cpu> cpus) {
  std::map<int, int> seen;  // of each core
  std::vector<std::tuple<int, int, int, Cpu>> keyed;
  std::sort(cpus.begin(), cpus.end());
  for (const Cpu& c : cpus) keyed.emplace_back(c.node, seen[c.core]++, c.number, c);
  std::sort(keyed.begin(), keyed.end());
  std::vector<Cpu> out;
  for (const auto& k : keyed) out.push_back(std::get<Cpu>(k));
  return out;
}

bool openmp_binds() {
  constexpr const char* kBinding[] = {"OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY"};
  return std::ranges::any_of(kBinding, [](const char* name) { return std::getenv(name) != nullptr; });
}

}  // namespace

std::vector<Cpu> host_cpus(const std::string& sys) {
  const std::string folder = sys + "/devices/system/cpu/";
  std::vector<Cpu> out;
  std::map<std::pair<int, int>, int> cores;
  for (const int number : cpus_of(first_line(folder + "online"))) {
    const std::string own = folder + "cpu" + std::to_string(number);
    const std::pair core(number_in(own + "/topology/physical_package_id"), number_in(own + "/topology/core_id"));
    const int known = static_cast<int>(cores.size());
    out.push_back({number, node_of(own), cores.try_emplace(core, known).first->second});
  }
  return out;
}

std::vector<std::vector<int>> deal_cpus(const std::vector<Cpu>& free, int workers, int threads) {
  std::vector<Cpu> left = in_order(free);
  const auto each = static_cast<std::size_t>(threads);
  if (workers < 1 || threads < 1 || left.size() / each < static_cast<std::size_t>(workers)) return {};
  std::vector<std::vector<int>> out(static_cast<std::size_t>(workers));
  for (std::vector<int>& own : out) {
    const auto has_room = [&](const Cpu& c) {
      return std::ranges::count(left, c.node, &Cpu::node) >= static_cast<std::ptrdiff_t>(each);
    };
    const auto from = std::ranges::find_if(left, has_room);
    const bool one_node = from != left.end();
    const int node = one_node ? from->node : 0;
    std::erase_if(left, [&](const Cpu& c) {
      if (own.size() == each || (one_node && c.node != node)) return false;
      own.push_back(c.number);
      return true;
    });
    std::sort(own.begin(), own.end());
  }
  return out;
}

std::optional<CpuClaims> CpuClaims::take(const std::vector<Cpu>& cpus, int workers, int threads, int others) {
  const transport::Descriptor locked = lock();
  if (locked.get() < 0) return std::nullopt;
  std::vector<Cpu> free;
  std::map<int, transport::Descriptor> held;
  for (const Cpu& c : cpus) {
    transport::Descriptor one = hold("cohaul/cpu/" + std::to_string(c.number));
    if (one.get() < 0) continue;
    free.push_back(c);
    held[c.number] = std::move(one);
  }
  CpuClaims out;
  if (free.size() >= static_cast<std::size_t>(others)) out.cpus_ = deal_cpus(free, workers, threads);
  const std::size_t dealt = out.cpus_.size() * static_cast<std::size_t>(threads);
  if (out.cpus_.empty() || dealt + static_cast<std::size_t>(others) > free.size()) return std::nullopt;
  for (const std::vector<int>& own : out.cpus_)
    for (const int number : own) out.held_.push_back(std::move(held[number]));
  return out;
}

std::optional<CpuClaims> claim_cpus(int workers, int threads, int others) {
  const std::vector<Cpu> cpus = host_cpus();
  const int all = static_cast<int>(cpus.size());
  if (workers < 2 || workers > all || openmp_binds()) return std::nullopt;
  if (quota_cores() != 0 || cpus_of(allowed_cpus()).size() != cpus.size()) return std::nullopt;
  return CpuClaims::take(cpus, workers, threads > 0 ? threads : std::max(1, all / workers), others);
}

}  // namespace cohaul::job
