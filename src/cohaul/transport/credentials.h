#pragma once
// What a process uses to prove, over TCP, that it belongs to the job. Without any, connections are plain text.

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <variant>

namespace cohaul::transport {

/// A secret that all processes of the job share. A process that knows it may take any free rank.
using Key = std::array<std::byte, 32>;

/// A certificate of its own: it says which role and rank this process has, and no other process can speak as it. PEM texts.
struct Certificate {
  std::string chain{}, key{};  // this process's own
  std::string authority{};     // certificates that it has signed are trusted
  std::string job{};           // a certificate's name is the URI "cohaul:JOB/worker/3" among its alternative names
  bool expires = true;         // whether a certificate's times count; not where it lives as long as the job
  /// Where servers are threads of so many workers, server k speaks with the certificate of worker k mod threads_of. 0: they are processes.
  int threads_of = 0;
  bool worker_0_hosts = false;  // the rendezvous speaks with worker 0's certificate
};

using Credentials = std::variant<std::monostate, Key, std::shared_ptr<const Certificate>>;

}  // namespace cohaul::transport
