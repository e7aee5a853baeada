#pragma once
// A certificate authority of one job, in memory: it gives every process a certificate and a key of its own. Its own key is never written anywhere.

#include <string>

#include "cohaul/base/status.h"
#include "cohaul/transport/channel.h"
#include "cohaul/transport/credentials.h"
#include "cohaul/transport/openssl.h"

namespace cohaul::transport {

/// The name that a certificate of the job has for a process: "cohaul:JOB/worker/3".
std::string certified_name(const std::string& job, Role role, int rank);

class Authority {
 public:
  /// internal: OpenSSL fails.
  static Result<Authority> make(const std::string& job);
  /// Returns a certificate with a new key of its own. internal: OpenSSL fails.
  Result<Certificate> issue(Role role, int rank) const;

 private:
  std::string job_;
  PrivateKey key_;
  X509Certificate certificate_;
};

}  // namespace cohaul::transport
