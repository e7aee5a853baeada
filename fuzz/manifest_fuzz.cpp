// Arbitrary bytes as a manifest: they are refused, or decoded to one that encodes to the same bytes. The hash in the last line is corrected, so that
// the JSON is reached.

#include <cstdlib>
#include <string>

#include "cohaul/checkpoint/manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cohaul;
  std::string text(reinterpret_cast<const char*>(data), size);
  (void)checkpoint::Manifest::decode(text);
  text += "\n";
  const Result<checkpoint::Manifest> m =
      checkpoint::Manifest::decode(text + "xxh3 " + checkpoint::hash_of(as_bytes(std::string_view(text))) + "\n");
  if (!m.ok()) return 0;
  const Result<checkpoint::Manifest> again = checkpoint::Manifest::decode(m->encode());
  if (!again.ok() || again->updates != m->updates || again->files != m->files) std::abort();
  return 0;
}
