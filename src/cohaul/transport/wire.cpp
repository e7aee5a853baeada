#include "cohaul/transport/wire.h"

#include <cstddef>
#include <cstring>

#include "cohaul/base/hash.h"

namespace cohaul::transport {
namespace {

std::uint64_t checksum_of(const Header& header) {
  return hash64(as_bytes(std::span(&header, 1)).first(offsetof(Header, header_checksum)));
}

Status differs(const char* field, std::uint64_t expected, std::uint64_t found) {
  return corrupt(std::string("a frame has another ") + field + " than the hello: " + std::to_string(found) +
                 " instead of " + std::to_string(expected));
}

}  // namespace

Header header_from(const Identity& sender, FrameType type) {
  Header h;
  h.type = type;
  h.sender_role = sender.role;
  h.job = sender.job;
  h.generation = sender.generation.value;
  h.sender_rank = sender.rank;
  h.incarnation = sender.incarnation.value;
  return h;
}

void seal(Header& header) { header.header_checksum = checksum_of(header); }

std::uint64_t content_checksum(ConstBytes body, ConstBytes payload) { return hash64(payload, hash64(body)); }

Result<Header> decode_header(ConstBytes in) {
  if (in.size() < kHeaderBytes) return corrupt("a frame is shorter than its header");
  Header h;
  std::memcpy(&h, in.data(), kHeaderBytes);
  if (h.magic != kMagic) return corrupt("not a frame of Cohaul: wrong magic number");
  if (h.version != kWireVersion) {
    return unsupported("the two processes speak different wire versions: " + std::to_string(kWireVersion) + " here, " +
                       std::to_string(h.version) + " there; use the same Cohaul on both sides");
  }
  if (h.header_checksum != checksum_of(h)) return corrupt("a frame's header does not match its checksum");
  if (h.type > FrameType::lend) return corrupt("a frame has an unknown type");
  if (h.sender_role > Role::tool) return corrupt("a frame's sender has an unknown role");
  if ((h.flags & ~kPayloadByAddress) != 0) return corrupt("a frame has unknown flags");
  if (h.body_length > kBodyBytesMax) return corrupt("a frame's body is too long: " + std::to_string(h.body_length));
  if (h.payload_length > kPayloadBytesMax) {
    return corrupt("a frame's payload is too long: " + std::to_string(h.payload_length));
  }
  return h;
}

Status check_sender(const Header& h, const Identity& peer) {
  if (h.job != peer.job) return differs("job", peer.job, h.job);
  if (h.generation != peer.generation.value) return differs("generation", peer.generation.value, h.generation);
  if (h.incarnation != peer.incarnation.value) return differs("incarnation", peer.incarnation.value, h.incarnation);
  if (h.sender_role != peer.role) {
    return differs("role", static_cast<std::uint64_t>(peer.role), static_cast<std::uint64_t>(h.sender_role));
  }
  if (h.sender_rank != peer.rank) {
    return differs("rank", static_cast<std::uint64_t>(peer.rank), static_cast<std::uint64_t>(h.sender_rank));
  }
  return {};
}

Status check_message(const Message& message) {
  if (message.body.size() > kBodyBytesMax) {
    return invalid("a frame's body has " + std::to_string(message.body.size()) + " bytes, the limit is " +
                   std::to_string(kBodyBytesMax) + "; send it as payload");
  }
  if (message.payload.size() > kPayloadBytesMax) {
    return invalid("a frame's payload has " + std::to_string(message.payload.size()) + " bytes, the limit is " +
                   std::to_string(kPayloadBytesMax) + "; send it in pieces");
  }
  return {};
}

}  // namespace cohaul::transport
