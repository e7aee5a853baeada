#include "cohaul/job/secret.h"

#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "cohaul/base/check.h"
#include "cohaul/base/digits.h"
#include "cohaul/base/limits.h"
#include "cohaul/job/job_id.h"
#include "cohaul/job/private_file.h"
#include "cohaul/transport/descriptor.h"

namespace cohaul::job {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

Status wrong(const std::string& file, const std::string& what) {
  return invalid("the job's secret: " + file + ": " + what);
}

}  // namespace

Result<std::string> read_secret(const std::string& file) {
  COHAUL_ASSIGN(std::string text, read_file(file, kSecretBytesMax, Readers::owner).context("the job's secret"));
  const std::size_t first = text.find_first_not_of(kSpace);
  text = first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(kSpace) + 1 - first);
  if (text.size() < kSecretLeast)
    return wrong(file, "it has " + std::to_string(text.size()) + " characters, and needs " +
                           std::to_string(kSecretLeast) + ": `cohaul secret` makes one");
  return text;
}

Status make_secret(const std::string& file) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(file).parent_path(), error);
  const transport::Descriptor fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR));
  if (!fd.valid()) return wrong(file, std::strerror(errno));
  std::string text;
  for (int i = 0; i < 4; ++i) text += hex_of(random_bits());
  text += "\n";
  if (::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) && ::fsync(fd.get()) == 0)
    return {};
  const int why = errno;
  ::unlink(file.c_str());
  return wrong(file, std::strerror(why));
}

transport::Key key_of(const std::string& secret, const std::string& run_name) {
  transport::Key out{};
  std::string info = "cohaul job key 1 " + run_name, digest = "SHA256", input = secret;
  const OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest.data(), 0),
                                   OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, input.data(), input.size()),
                                   OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info.data(), info.size()),
                                   OSSL_PARAM_construct_end()};
  EVP_KDF* const kdf = EVP_KDF_fetch(nullptr, "HKDF", nullptr);
  EVP_KDF_CTX* const context = EVP_KDF_CTX_new(kdf);
  const bool derived =
      EVP_KDF_derive(context, reinterpret_cast<unsigned char*>(out.data()), out.size(), parameters) == 1;
  EVP_KDF_CTX_free(context);
  EVP_KDF_free(kdf);
  COHAUL_CHECK(derived, "OpenSSL derives a key by HKDF with SHA-256");
  return out;
}

}  // namespace cohaul::job
