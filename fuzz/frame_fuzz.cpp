// Arbitrary bytes as a frame: the header, then what its type requires. Nothing may crash or read past the end.

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cohaul/transport/endpoint.h"
#include "cohaul/transport/hello.h"

using namespace cohaul;
using namespace cohaul::transport;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ConstBytes in(reinterpret_cast<const std::byte*>(data), size);
  (void)decode_header(in);
  (void)decode_refusal(in);
  (void)Address::decode({reinterpret_cast<const char*>(data), size});
  if (size < kHeaderBytes) return 0;

  // The checksums are corrected, since otherwise the fuzzer would not get past them.
  Header header;
  std::memcpy(&header, data, kHeaderBytes);
  ConstBytes body = in.subspan(kHeaderBytes);
  header.magic = kMagic;
  header.version = kWireVersion;
  header.content_checksum = content_checksum(body, {});
  seal(header);
  auto decoded = decode_header(as_bytes(std::span<const Header>(&header, 1)));
  if (!decoded.ok()) return 0;
  (void)check_sender(*decoded, {});
  auto hello = decode_hello(*decoded, body);
  if (hello.ok()) (void)verify({}, hello->who);
  return 0;
}
