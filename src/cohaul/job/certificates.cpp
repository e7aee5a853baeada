#include "cohaul/job/certificates.h"

#include "cohaul/base/limits.h"
#include "cohaul/job/private_file.h"

namespace cohaul::job {
namespace {

std::string path_of(std::string path, MemberKey who) {
  const auto replace = [&](const std::string& what, const std::string& by) {
    for (std::size_t at = 0; (at = path.find(what, at)) != std::string::npos; at += by.size())
      path.replace(at, what.size(), by);
  };
  replace("{role}", std::string(transport::name(who.role)));
  replace("{rank}", std::to_string(who.rank));
  return path;
}

}  // namespace

Result<std::shared_ptr<const transport::Certificate>> read_certificate(const CertificateFiles& files,
                                                                       const std::string& job, bool expires,
                                                                       MemberKey who) {
  if (files.certificate.empty() || files.key.empty() || files.authority.empty())
    return invalid("certificates need all three of job.tls_cert, job.tls_key and job.tls_ca");
  transport::Certificate out{.job = job, .expires = expires};
  COHAUL_ASSIGN(
      out.chain,
      read_file(path_of(files.certificate, who), kCertificateBytesMax, Readers::anybody).context("job.tls_cert"));
  COHAUL_ASSIGN(out.key,
                read_file(path_of(files.key, who), kCertificateBytesMax, Readers::owner).context("job.tls_key"));
  COHAUL_ASSIGN(out.authority,
                read_file(path_of(files.authority, who), kCertificateBytesMax, Readers::anybody).context("job.tls_ca"));
  return std::make_shared<const transport::Certificate>(std::move(out));
}

}  // namespace cohaul::job
