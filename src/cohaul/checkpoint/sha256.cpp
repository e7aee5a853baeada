#include "cohaul/checkpoint/sha256.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "cohaul/base/check.h"

namespace cohaul::checkpoint {

std::string parameters_sha256(std::span<const TensorView> tensors) {
  std::vector<const TensorView*> sorted;
  for (const TensorView& t : tensors) sorted.push_back(&t);
  std::ranges::sort(sorted, {}, [](const TensorView* t) -> std::string_view { return t->name; });

  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  bool ok = context && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1;
  for (const TensorView* t : sorted) ok = ok && EVP_DigestUpdate(context.get(), t->data.data(), t->data.size()) == 1;
  ok = ok && EVP_DigestFinal_ex(context.get(), digest.data(), &length) == 1;
  COHAUL_CHECK(ok, "SHA-256 is there");

  std::string hex;
  for (unsigned i = 0; i < length; ++i) {
    hex += "0123456789abcdef"[digest[i] >> 4];
    hex += "0123456789abcdef"[digest[i] & 15];
  }
  return hex;
}

}  // namespace cohaul::checkpoint
