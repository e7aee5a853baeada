#pragma once
// The wire: the header that every frame starts with, drawn here and nowhere else. Little-endian, 104 bytes, no padding.
//
//   offset  size  field
//        0     4  magic             "COHF"
//        4     2  version           kWireVersion; magic and version keep their place in every version
//        6     1  type              FrameType
//        7     1  sender_role       Role
//        8     8  job
//       16     4  generation
//       20     4  sender_rank
//       24     8  incarnation       of the sender
//       32     8  sequence          of data frames on this channel in this direction, from 0, without gaps
//       40     2  kind              the conversation's
//       42     2  flags             kPayloadByAddress
//       44     4  body_length       <= kBodyBytesMax
//       48     8  clock             the conversation's
//       56     8  key               the conversation's
//       64     8  payload_length    <= kPayloadBytesMax
//       72     8  payload_arena     by address: which arena; else 0
//       80     8  payload_offset    by address: where in it; else 0
//       88     8  content_checksum  XXH3 of the payload seeded with the XXH3 of the body on TCP; in shared memory, and under TLS, 0
//       96     8  header_checksum   XXH3 of bytes 0 ... 95
//
// On TCP and the Unix socket, body and payload follow the header at once. In a ring see ring.h.

#include <cstdint>
#include <string>
#include <type_traits>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"
#include "cohaul/transport/channel.h"

namespace cohaul::transport {

constexpr std::uint32_t kMagic = 0x46484F43;  // "COHF"
constexpr std::uint16_t kWireVersion = 2;
constexpr std::uint16_t kPayloadByAddress = 1;

enum class FrameType : std::uint8_t {
  data = 0,
  hello = 1,    ///< client to server, first
  welcome = 2,  ///< the answer: the server's own hello
  refusal = 3,  ///< the other answer: why not; then the connection closes
  lend =
      4,  ///< Unix socket only: a descriptor of the arena in payload_arena comes with it; key: bytes of its first window
};

struct Header {
  std::uint32_t magic = kMagic;
  std::uint16_t version = kWireVersion;
  FrameType type = FrameType::data;
  Role sender_role = Role::worker;
  std::uint64_t job = 0;
  std::uint32_t generation = 0;
  std::int32_t sender_rank = 0;
  std::uint64_t incarnation = 0;
  std::uint64_t sequence = 0;
  std::uint16_t kind = 0;
  std::uint16_t flags = 0;
  std::uint32_t body_length = 0;
  std::int64_t clock = 0;
  std::uint64_t key = 0;
  std::uint64_t payload_length = 0;
  ArenaId payload_arena = kNoArena;
  std::uint64_t payload_offset = 0;
  std::uint64_t content_checksum = 0;
  std::uint64_t header_checksum = 0;

  bool by_address() const { return (flags & kPayloadByAddress) != 0; }
  Region region() const { return {payload_arena, payload_offset, payload_length}; }
};
constexpr std::size_t kHeaderBytes = 104;
static_assert(sizeof(Header) == kHeaderBytes && std::is_trivially_copyable_v<Header>);
static_assert(offsetof(Header, sequence) == 32 && offsetof(Header, header_checksum) == 96);

/// Returns a header with the sender's part filled in and the rest zero.
Header header_from(const Identity& sender, FrameType type);
/// Fills header_checksum. Nothing may be changed in the header after it.
void seal(Header& header);
std::uint64_t content_checksum(ConstBytes body, ConstBytes payload);

/// Copies the header out of foreign bytes (at least kHeaderBytes, else corrupt), then checks magic, version, checksum, lengths, type
/// and flags. Errors: corrupt; unsupported (another version, naming both).
Result<Header> decode_header(ConstBytes in);

/// Checks that a frame after the hello is from the sender of the hello. corrupt, naming the field and both values.
Status check_sender(const Header& header, const Identity& peer);

/// Checks the rules of body and size of a Message before it is sent: invalid, naming the limit.
Status check_message(const Message& message);

}  // namespace cohaul::transport
