#include "cohaul/transport/authority.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>

namespace cohaul::transport {
namespace {

constexpr long kDay = 24 * 60 * 60;

Status failed() { return internal("a certificate could not be made: " + openssl_reason()); }

bool add_extension(X509* certificate, X509* issuer, int what, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Openssl<X509_EXTENSION, &X509_EXTENSION_free> extension(
      X509V3_EXT_conf_nid(nullptr, &context, what, value.c_str()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool set_serial(X509* certificate) {
  std::uint64_t serial = 0;
  return RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial) == 1 &&
         ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1 | 1) == 1;
}

/// Returns a certificate that is not signed yet. Every certificate has a begin and an end of validity; here they do
/// not count.
X509Certificate blank(EVP_PKEY* key, const std::string& name) {
  X509Certificate out(X509_new());
  X509_NAME* const subject = out ? X509_get_subject_name(out.get()) : nullptr;
  const bool made = subject != nullptr && X509_set_version(out.get(), 2) == 1 && set_serial(out.get()) &&
                    X509_gmtime_adj(X509_getm_notBefore(out.get()), -kDay) != nullptr &&
                    X509_gmtime_adj(X509_getm_notAfter(out.get()), 3650 * kDay) != nullptr &&
                    X509_set_pubkey(out.get(), key) == 1 &&
                    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0) == 1;
  if (!made) out.reset();
  return out;
}

template <class Write>
std::string pem(const Write& write) {
  const Bio memory(BIO_new(BIO_s_mem()));
  if (!memory || write(memory.get()) != 1) return "";
  char* text = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

std::string pem_of(X509* certificate) {
  return pem([&](BIO* to) { return PEM_write_bio_X509(to, certificate); });
}

}  // namespace

std::string certified_name(const std::string& job, Role role, int rank) {
  return "cohaul:" + job + "/" + std::string(name(role)) + "/" + std::to_string(rank);
}

Result<Authority> Authority::make(const std::string& job) {
  Authority out;
  out.job_ = job;
  out.key_.reset(EVP_EC_gen("P-256"));
  if (!out.key_) return failed();
  out.certificate_ = blank(out.key_.get(), "cohaul job");
  X509* const own = out.certificate_.get();
  if (own == nullptr || X509_set_issuer_name(own, X509_get_subject_name(own)) != 1 ||
      !add_extension(own, own, NID_basic_constraints, "critical,CA:TRUE") ||
      !add_extension(own, own, NID_key_usage, "critical,keyCertSign") ||
      X509_sign(own, out.key_.get(), EVP_sha256()) == 0)
    return failed();
  return out;
}

Result<Certificate> Authority::issue(Role role, int rank) const {
  const PrivateKey key(EVP_EC_gen("P-256"));
  if (!key) return failed();
  const X509Certificate certificate = blank(key.get(), std::string(name(role)) + " " + std::to_string(rank));
  X509* const own = certificate.get();
  if (own == nullptr || X509_set_issuer_name(own, X509_get_subject_name(certificate_.get())) != 1 ||
      !add_extension(own, certificate_.get(), NID_basic_constraints, "critical,CA:FALSE") ||
      !add_extension(own, certificate_.get(), NID_subject_alt_name, "URI:" + certified_name(job_, role, rank)) ||
      X509_sign(own, key_.get(), EVP_sha256()) == 0)
    return failed();
  Certificate out{.chain = pem_of(own),
                  .key = pem([&](BIO* to) {
                    return PEM_write_bio_PrivateKey(to, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
                  }),
                  .authority = pem_of(certificate_.get()),
                  .job = job_,
                  .expires = false};
  if (out.chain.empty() || out.key.empty() || out.authority.empty()) return failed();
  return out;
}

}  // namespace cohaul::transport
