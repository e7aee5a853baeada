#include "ssh_hosts.h"

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>

namespace cohaul::tests {
namespace {

void must(const std::string& command) {
  if (std::system((command + " >&2").c_str()) != 0) throw std::runtime_error("failed: " + command);
}

void may(const std::string& command) { (void)!std::system((command + " >/dev/null 2>&1").c_str()); }

}  // namespace

std::string why_no_hosts() {
  if (::geteuid() != 0) return "network namespaces need root";
  for (const char* program : {"ip", "sshd", "ssh", "ssh-keygen", "nsenter", "unshare"})
    if (std::system(("command -v " + std::string(program) + " >/dev/null").c_str()) != 0)
      return std::string(program) + " is not installed: ./dev setup does it";
  if (std::system("unshare --net true 2>/dev/null") != 0) return "the system allows no network namespaces";
  return "";
}

std::size_t pieces_in(const std::string& bytes, const std::string& saved) {
  constexpr std::size_t kPiece = 32, kStride = 1024, kHeader = 1024;
  std::size_t found = 0;
  for (std::size_t at = kHeader; at + kPiece < saved.size(); at += kStride)
    found += bytes.find(saved.substr(at, kPiece)) != std::string::npos ? 1 : 0;
  return found;
}

Capture::Capture(const std::string& interface) : socket_(::socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL))) {
  sockaddr_ll where{};
  where.sll_family = AF_PACKET;
  where.sll_protocol = htons(ETH_P_ALL);
  where.sll_ifindex = static_cast<int>(::if_nametoindex(interface.c_str()));
  const timeval patience{0, 20'000};
  const int room = 64 << 20;
  ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
  if (::bind(socket_, reinterpret_cast<sockaddr*>(&where), sizeof where) != 0)
    throw std::runtime_error("cannot listen to " + interface);
  thread_ = std::thread([this] { run(); });
}

Capture::~Capture() {
  (void)bytes();
  ::close(socket_);
}

const std::string& Capture::bytes() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
  return bytes_;
}

void Capture::run() {
  std::string packet(1 << 17, '\0');
  while (!stopping_) {
    const ssize_t n = ::recv(socket_, packet.data(), packet.size(), 0);
    if (n > 0) bytes_.append(packet, 0, static_cast<std::size_t>(n));
  }
}

std::string SshHosts::space(int host) const { return bridge_ + "n" + std::to_string(host); }
std::string SshHosts::port(int host) const { return bridge_ + "v" + std::to_string(host); }
std::vector<std::string> SshHosts::as_task(int host, int rank, int tasks) const {
  return {"--net=/run/netns/" + space(host), "/usr/bin/env",
          "RANK=" + std::to_string(rank),    "WORLD_SIZE=" + std::to_string(tasks),
          "MASTER_ADDR=" + address(1),       "MASTER_PORT=29511"};
}
void SshHosts::write_enter(const std::string& path) const {
  const std::string names = path + ".names";
  std::ofstream out(names);
  out << "127.0.0.1 localhost\n" << address(1) << " node0\n";
  for (int i = 1; i <= count_; ++i) out << address(i) << " node" << i << "\n";
  std::ofstream(path) << "#!/bin/sh\nhost=${1#node}\nshift\nexec nsenter --net=/run/netns/" << bridge_
                      << "n$host unshare -m -u sh -c 'hostname node'$host' && mount --bind " << names
                      << " /etc/hosts && if [ -e " << path << ".resolver ]; then mount --bind " << path
                      << ".resolver /etc/resolv.conf; fi && exec \"$@\"' sh \"$@\"\n";
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
}
void SshHosts::write_full(const std::string& path, const std::string& kept, const std::vector<std::string>& full) {
  const std::string aside = "/run/cohaul-kept";
  std::ofstream out(path);
  out << "#!/bin/sh\nexec unshare -m sh -ec '\nmkdir -p " << aside << "\nmount --bind " << kept << " " << aside << "\n";
  for (const std::string& folder : full) {
    out << "mount -t tmpfs -o size=64k full " << folder << "\n";
    if (kept.starts_with(folder + "/")) out << "mkdir -p " << kept << "; mount --bind " << aside << " " << kept << "\n";
    out << "head -c 100k /dev/zero >" << folder << "/rest 2>/dev/null || true\nif echo more >" << folder
        << "/more 2>/dev/null; then exit 99; fi\n";
  }
  out << "exec \"$@\"' sh \"$@\"\n";
  out.close();
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
}
void SshHosts::on(int host, const std::string& command) const {
  must("nsenter --net=/run/netns/" + space(host) + " sh -ec '" + command + "'");
}
double SshHosts::sent(int host) const {
  double bytes = 0;
  std::ifstream("/sys/class/net/" + port(host) + "/statistics/rx_bytes") >> bytes;
  return bytes;
}
std::string SshHosts::address(int host) const { return network_ + "." + std::to_string(host); }

SshHosts::SshHosts(int count) : folder_(TemporaryFolder::make("cohaul-hosts").value()), count_(count) {
  const int number = ::getpid() % 5000;  // so that several tests can run at the same time
  bridge_ = "ch" + std::to_string(number);
  network_ = "10." + std::to_string(100 + number / 250) + "." + std::to_string(number % 250);
  const std::string key = folder_.file("key"), config = folder_.file("config");
  must("mkdir -p /run/sshd && ssh-keygen -q -t ed25519 -N '' -f " + key);
  must("ip link add " + bridge_ + " type bridge && ip addr add " + address(254) + "/24 dev " + bridge_ +
       " && ip link set " + bridge_ + " up");
  std::ofstream out(config);
  for (int i = 1; i <= count_; ++i) {
    const std::string s = space(i), port = this->port(i), in = "ip netns exec " + s + " ";
    must("ip netns add " + s + " && ip link add " + port + " type veth peer name eth0 netns " + s + " && ip link set " +
         port + " master " + bridge_ + " up");
    must(in + "ip addr add " + address(i) + "/24 dev eth0 && " + in + "ip link set eth0 up && " + in +
         "ip link set lo up && " + in + "ip route add default via " + address(254));
    must("nsenter --net=/run/netns/" + s + " unshare -u sh -c 'hostname node" + std::to_string(i) +
         " && exec $(command -v sshd) -f /dev/null -h " + key + " -o PidFile=" + folder_.file("pid") +
         std::to_string(i) + " -o AuthorizedKeysFile=" + key +
         ".pub -o StrictModes=no -o PermitRootLogin=yes -o UsePAM=no'");
    out << "Host node" << i << "\n  HostName " << address(i) << "\n";
  }
  out << "Host nodown\n  HostName " << address(77) << "\nHost *\n  IdentityFile " << key
      << "\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n  BatchMode yes\n"
         "  ConnectTimeout 2\n";
  // sshd writes its process id when it is listening.
  for (int i = 1; i <= count_; ++i)
    must("for k in $(seq 500); do [ -s " + folder_.file("pid") + std::to_string(i) +
         " ] && exit 0; sleep 0.01; done; exit 1");
  ssh_ = "ssh -F " + config;
}

SshHosts::~SshHosts() {
  for (int i = 1; i <= count_; ++i) {
    may("kill $(cat " + folder_.file("pid") + std::to_string(i) + ")");
    may("ip netns pids " + space(i) + " | xargs -r kill -9");
    may("ip netns del " + space(i));
  }
  may("ip link del " + bridge_);
}

void SshHosts::cut(int host) { must("ip link set " + port(host) + " down"); }
void SshHosts::mend(int host) { must("ip link set " + port(host) + " up"); }

std::vector<pid_t> SshHosts::processes(int host, const std::string& program) const {
  std::vector<pid_t> out;
  struct stat wanted {
  }, own{};
  if (::stat(("/run/netns/" + space(host)).c_str(), &wanted) != 0) return out;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::string comm;
    std::ifstream(entry.path() / "comm") >> comm;
    if (comm == program && ::stat((entry.path() / "ns/net").c_str(), &own) == 0 && own.st_ino == wanted.st_ino)
      out.push_back(std::stoi(entry.path().filename()));
  }
  return out;
}

}  // namespace cohaul::tests
