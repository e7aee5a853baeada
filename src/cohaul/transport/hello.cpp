#include "cohaul/transport/hello.h"

#include "cohaul/base/digits.h"

namespace cohaul::transport {
namespace {

std::vector<std::byte> frame_of(Header header, const std::vector<std::byte>& body) {
  header.body_length = static_cast<std::uint32_t>(body.size());
  header.content_checksum = content_checksum(body, {});
  seal(header);
  std::vector<std::byte> frame;
  Writer(frame).put(header).raw(body);
  return frame;
}

}  // namespace

std::string_view name(Role role) {
  switch (role) {
    case Role::worker: return "worker";
    case Role::server: return "server";
    case Role::launcher: return "launcher";
    case Role::tool: return "tool";
  }
  return "unknown role";
}

std::string describe(const Identity& who) {
  if (who.role == Role::launcher) return "the launcher";
  return std::string(name(who.role)) + " " + std::to_string(who.rank);
}

std::vector<std::byte> encode_hello(const Identity& self, FrameType type, std::uint32_t capabilities) {
  std::vector<std::byte> body;
  Writer(body)
      .put(self.token)
      .put(self.model)
      .put(capabilities)
      .text(std::string_view(self.purpose).substr(0, kPurposeBytesMax));
  return frame_of(header_from(self, type), body);
}

std::vector<std::byte> encode_refusal(const Identity& self, const Status& why) {
  std::vector<std::byte> body;
  Writer(body).put(why.code()).text(why.message().substr(0, kReasonBytesMax));
  return frame_of(header_from(self, FrameType::refusal), body);
}

Result<Hello> decode_hello(const Header& header, ConstBytes body) {
  if (header.type != FrameType::hello && header.type != FrameType::welcome)
    return corrupt("the first frame is no hello");
  if (body.size() != header.body_length || header.payload_length != 0) return corrupt("a hello of a wrong length");
  if (content_checksum(body, {}) != header.content_checksum) return corrupt("a hello does not match its checksum");
  Hello hello;
  hello.who.job = header.job;
  hello.who.generation = Generation(header.generation);
  hello.who.role = header.sender_role;
  hello.who.rank = header.sender_rank;
  hello.who.incarnation = Incarnation(header.incarnation);
  Reader in(body);
  hello.who.token = in.get<std::uint64_t>();
  hello.who.model = in.get<std::uint64_t>();
  hello.capabilities = in.get<std::uint32_t>();
  hello.who.purpose = in.text();
  if (!in.ok()) return corrupt("a hello is too short");
  if (hello.who.purpose.size() > kPurposeBytesMax) return corrupt("a hello's purpose is too long");
  return hello;
}

Status decode_refusal(ConstBytes body) {
  Reader in(body);
  auto code = in.get<std::uint8_t>();
  std::string reason = in.text();
  if (!in.ok()) return corrupt("a refusal that cannot be read");
  return code == static_cast<std::uint8_t>(Code::unsupported) ? unsupported(reason) : invalid(reason);
}

Status verify(const Identity& self, const Identity& peer) {
  std::string who = describe(peer), me = describe(self);
  if (self.job != peer.job) {
    return invalid("the two processes belong to different jobs: " + me + " to " + hex_of(self.job) + ", " + who +
                   " to " + hex_of(peer.job) +
                   "; give all processes of a job the same address and no other job that address");
  }
  if (self.token != peer.token) {
    return invalid(who + " does not know the token of the job of " + me + "; start all processes with one launcher");
  }
  if (self.role == peer.role && self.rank == peer.rank && self.incarnation == peer.incarnation)
    return invalid(who + " was sent its own words back");
  if (self.generation != peer.generation) {
    return invalid("the two processes are of different generations of the job: " + me + " of " +
                   std::to_string(self.generation.value) + ", " + who + " of " + std::to_string(peer.generation.value) +
                   "; the older one must join again");
  }
  if (self.model != 0 && peer.model != 0 && self.model != peer.model) {
    return invalid("the two processes have different models (names, shapes or types of parameters): " + me + " has " +
                   hex_of(self.model) + ", " + who + " has " + hex_of(peer.model) +
                   "; run the same program and job file everywhere");
  }
  return {};
}

}  // namespace cohaul::transport
