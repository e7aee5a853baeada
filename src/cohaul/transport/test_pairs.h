#pragma once
// For tests: two ends of one connection, in each form that the conformance suite runs.

#include <memory>
#include <ostream>
#include <string>

#include "cohaul/transport/channel.h"
#include "cohaul/transport/endpoint.h"
#include "cohaul/transport/poller.h"

namespace cohaul::transport {

struct End {
  std::unique_ptr<Poller> poller;
  std::unique_ptr<Channel> channel;
  ~End() {
    if (channel && poller) poller->remove(*channel);
  }
  void close() {
    poller->remove(*channel);
    channel.reset();
  }
};

struct Pair {
  std::shared_ptr<void> network;  // the simulated network that both use; null: a real one
  End server, client;             // worker 0 and worker 1
};

/// For the names of tests.
inline void PrintTo(Form form, std::ostream* out) { *out << name(form); }

Identity test_identity(int rank);
/// The same with a key, so that TCP is encrypted.
Identity test_identity_with_key(int rank);
/// Returns an identity with a certificate of one authority, for worker `rank`.
Identity test_identity_with_certificate(int rank);
/// form: "arena", "tcp", "tls", "certificates", "simulated", "simulated_host" (one host, so payloads travel as addresses).
std::unique_ptr<Pair> make_pair_of(const std::string& form);

}  // namespace cohaul::transport
