#pragma once
// The hello: the first frame of a connection, and its answer. Bodies (after the header, which carries job, generation, role, rank and
// incarnation):
//   hello, welcome   u64 token, u64 model, u32 capabilities, text purpose; what follows is of later versions and is ignored
//   refusal          u8 code, text reason

#include <cstdint>
#include <vector>

#include "cohaul/base/limits.h"
#include "cohaul/transport/wire.h"

namespace cohaul::transport {

constexpr std::uint32_t kCapabilityRing = 1;  // this connection carries a ring's descriptors

struct Hello {
  Identity who;
  std::uint32_t capabilities = 0;
};

/// Returns a whole frame: header and body.
std::vector<std::byte> encode_hello(const Identity& self, FrameType type, std::uint32_t capabilities);
std::vector<std::byte> encode_refusal(const Identity& self, const Status& why);

/// Reads a hello. `header` has been decoded; `body` is body_length foreign bytes. Errors: corrupt.
Result<Hello> decode_hello(const Header& header, ConstBytes body);
/// Returns the reason inside a refusal; corrupt if the body is no refusal. Never ok.
Status decode_refusal(ConstBytes body);

/// Checks whether `self` may talk with `peer`: same job, token, generation, model (0 matches any). invalid, naming
/// both values (never a token).
Status verify(const Identity& self, const Identity& peer);

}  // namespace cohaul::transport
