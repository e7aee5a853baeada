#pragma once
// Smart pointers to OpenSSL's objects, and the text of its last failure.

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>

namespace cohaul::transport {

template <auto free>
struct OpensslFree {
  template <class T>
  void operator()(T* p) const {
    free(p);
  }
};
template <class T, auto free>
using Openssl = std::unique_ptr<T, OpensslFree<free>>;

using Bio = Openssl<BIO, &BIO_free_all>;
using PrivateKey = Openssl<EVP_PKEY, &EVP_PKEY_free>;
using X509Certificate = Openssl<X509, &X509_free>;

inline Bio bio_of(const std::string& text) { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

/// Returns what OpenSSL says of its last failure.
inline std::string openssl_reason() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  const char* const text = code == 0 ? nullptr : ERR_reason_error_string(code);
  return text == nullptr ? "unknown" : text;
}

}  // namespace cohaul::transport
