#pragma once
// Hosts for tests: network namespaces with a name of their own and an sshd, joined by a bridge. They need root.

#include <sys/types.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "cohaul/base/temporary_folder.h"

namespace cohaul::tests {

/// Empty: hosts can be made here. Else why not.
std::string why_no_hosts();

/// How many pieces of a file of parameters are among the bytes.
std::size_t pieces_in(const std::string& bytes, const std::string& saved);

/// What goes through an interface of this machine, from now until it is read.
class Capture {
 public:
  /// Throws std::runtime_error where the interface cannot be listened to.
  explicit Capture(const std::string& interface);
  ~Capture();
  Capture(const Capture&) = delete;
  /// All bytes so far, packet after packet. Ends the capture.
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
  /// "node1" … "nodeN"; beside them "nodown", which is not there. Throws std::runtime_error, naming the command that failed.
  explicit SshHosts(int count);
  ~SshHosts();
  SshHosts(const SshHosts&) = delete;

  /// For --ssh.
  const std::string& ssh() const { return ssh_; }
  /// This machine's interface to all of them.
  const std::string& bridge() const { return bridge_; }
  /// This machine's end of the cable of host 1 ….
  std::string port(int host) const;
  /// Of /usr/bin/nsenter, before a program: it runs on host 1 … without ssh, as a task of an engine that meets on host 1.
  std::vector<std::string> as_task(int host, int rank, int tasks) const;
  /// Writes a program to `path`: "PATH HOST COMMAND…" runs on host 1 …, without ssh. There the hosts are known as
  /// node1 …, and host 1 as node0, too: so says the file PATH.names, which may be changed at any time.
  void write_enter(const std::string& path) const;
  /// Writes a program to `path`: in "PATH COMMAND…" the command sees each of the folders `full` on a disk of its own on which nothing is left, and `kept`
  /// as it is, though it may lie in one of them.
  static void write_full(const std::string& path, const std::string& kept, const std::vector<std::string>& full);
  /// Runs a shell's command on host 1 …. Throws std::runtime_error where it fails.
  void on(int host, const std::string& command) const;
  /// Bytes that host 1 … has sent through its cable.
  double sent(int host) const;
  /// "10.11.0.2", of host 1 …
  std::string address(int host) const;
  /// Cuts or mends the cable of host 1 ….
  void cut(int host);
  void mend(int host);
  /// The name of its network namespace, of host 1 ….
  std::string space(int host) const;
  /// Of a program that runs on host 1 ….
  std::vector<pid_t> processes(int host, const std::string& program) const;

 private:
  TemporaryFolder folder_;
  std::string ssh_, bridge_, network_;
  int count_;
};

}  // namespace cohaul::tests
