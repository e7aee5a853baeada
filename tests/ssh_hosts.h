#pragma once
// Hosts for tests: network namespaces, each with a name of its own and an sshd, connected by a bridge. They need root.

#include <sys/types.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "cohaul/base/temporary_folder.h"

namespace cohaul::tests {

/// Returns why hosts cannot be made here; empty: they can.
std::string why_no_hosts();

/// Returns how many pieces of a file of parameters are among the bytes.
std::size_t pieces_in(const std::string& bytes, const std::string& saved);

/// Captures what goes through an interface of this machine, until it is read.
class Capture {
 public:
  /// Starts the capture. Throws std::runtime_error if the interface cannot be opened.
  explicit Capture(const std::string& interface);
  ~Capture();
  Capture(const Capture&) = delete;
  /// Ends the capture, and returns all bytes, packet after packet.
  const std::string& bytes();

 private:
  void run();
  int socket_;
  std::atomic<bool> stopping_{false};
  std::string bytes_;
  std::thread thread_;
};

class SshHosts {
 public:
  /// Makes the hosts "node1" … "nodeN"; the name "nodown" leads to no host. Throws std::runtime_error, naming the command that failed.
  explicit SshHosts(int count);
  ~SshHosts();
  SshHosts(const SshHosts&) = delete;

  /// Returns the command for --ssh.
  const std::string& ssh() const { return ssh_; }
  /// Returns this machine's interface to all hosts.
  const std::string& bridge() const { return bridge_; }
  /// Returns this machine's end of the cable to a host, counted from 1.
  std::string port(int host) const;
  /// Returns arguments of /usr/bin/nsenter, to be followed by a program: it runs on the host, without ssh, as a task of an engine whose rendezvous is
  /// on host 1.
  std::vector<std::string> as_task(int host, int rank, int tasks) const;
  /// Writes a program to `path` such that "PATH HOST COMMAND…" runs a command on a host without ssh. There the hosts are known as node1 …, and host 1
  /// also as node0, by the file PATH.names, which may be changed at any time. The file PATH.resolver, if there is one, is their /etc/resolv.conf.
  void write_enter(const std::string& path) const;
  /// Writes a program to `path`: in "PATH COMMAND…" the command sees each of the folders `full` on a disk of its own that is full, and `kept`
  /// as it is, though it may lie in one of them.
  static void write_full(const std::string& path, const std::string& kept, const std::vector<std::string>& full);
  /// Runs a shell's command on a host. Throws std::runtime_error where it fails.
  void on(int host, const std::string& command) const;
  /// Returns how many bytes the host has sent through its cable.
  double sent(int host) const;
  /// Returns the host's address, such as "10.11.0.2".
  std::string address(int host) const;
  /// Cuts or restores the host's cable.
  void cut(int host);
  void mend(int host);
  /// Returns the name of the host's network namespace.
  std::string space(int host) const;
  /// Returns the processes of a program on the host.
  std::vector<pid_t> processes(int host, const std::string& program) const;

 private:
  TemporaryFolder folder_;
  std::string ssh_, bridge_, network_;
  int count_;
};

}  // namespace cohaul::tests
