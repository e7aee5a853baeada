#pragma once
// Certificates of the job's processes, where they have some: issued by Cohaul's launcher, or the user's own.

#include <memory>
#include <string>

#include "cohaul/base/status.h"
#include "cohaul/job/member.h"
#include "cohaul/transport/credentials.h"

namespace cohaul::job {

/// Paths of the files. {role} and {rank} in a path stand for the process's own: "certs/{role}-{rank}.pem".
struct CertificateFiles {
  std::string certificate;  // job.tls_cert
  std::string key;          // job.tls_key
  std::string authority;    // job.tls_ca
  bool any() const { return !certificate.empty() || !key.empty() || !authority.empty(); }
};

/// Names in the user's own certificates where COHAUL_JOB is not set: "cohaul:any/worker/3".
inline constexpr const char* kAnyJob = "any";

/// Reads the certificate that `who` is to show. Whether it is valid is found when the first connection is made.
/// invalid: one of the three is missing or cannot be read, or others than its owner can read the key.
Result<std::shared_ptr<const transport::Certificate>> read_certificate(const CertificateFiles& files,
                                                                       const std::string& job, bool expires,
                                                                       MemberKey who);

}  // namespace cohaul::job
