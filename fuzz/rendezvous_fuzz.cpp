// Arbitrary bytes as control messages: those that can be decoded are given to a rendezvous.
#include <algorithm>
#include <cstdint>

#include "cohaul/job/rendezvous.h"

using namespace cohaul;

namespace {

/// Connections 0 and 1 are workers that have joined, 2 is a worker that may join, 3 a server that has joined, 4 has not introduced itself.
constexpr int kWorkers = 3;

job::Rendezvous make_rendezvous() {
  job::Membership::Options options;
  options.workers = kWorkers;
  options.servers = 1;
  job::Rendezvous out(options, 0);
  for (std::uint64_t c = 0; c <= kWorkers; ++c) {
    job::Member member;
    member.role = c == kWorkers ? transport::Role::server : transport::Role::worker;
    member.rank = static_cast<int>(c % kWorkers);
    out.connected(c, member.key());
    if (c != 2) out.received(c, job::make_join(member, kWorkers), 0);
  }
  return out;
}

/// Returns a well-formed message with arbitrary values. Few random bodies can be decoded, and even fewer are meetings.
job::ControlMessage make_message(std::uint16_t kind, std::int64_t request, std::uint64_t number,
                                 std::string_view text) {
  job::ControlMessage out;
  out.kind = static_cast<job::ControlKind>(kind);
  out.request = request;
  out.number = number;
  out.timeout_ms = static_cast<std::int64_t>(number % 1000);
  out.key = text.substr(0, text.size() % 4);
  out.value = text;
  if (out.kind == job::ControlKind::meet) {
    const auto small = static_cast<std::int64_t>(number >> 32);
    out.value = job::encode_meeting({out.key, small % 4, out.key, small, std::string(text)});
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  job::Rendezvous rendezvous = make_rendezvous();
  // Input: messages of u8 connection, u8 kind, u64 number, u8 body length, u8 value length, body, value;
  // for a kind from 128 on, a well-formed body is made from the value.
  Reader in({reinterpret_cast<const std::byte*>(data), size});
  for (Time now = 1; in.left() > 0; now += kMillisecond) {
    auto connection = in.get<std::uint8_t>();
    auto kind = in.get<std::uint8_t>();
    auto number = in.get<std::uint64_t>();
    std::size_t body_length = in.get<std::uint8_t>(), value_length = in.get<std::uint8_t>();
    ConstBytes body = in.raw(std::min(body_length, in.left()));
    ConstBytes value = in.raw(std::min(value_length, in.left()));
    std::string_view text(reinterpret_cast<const char*>(value.data()), value.size());
    (void)job::decode_members(text).ok();
    (void)job::decode_welcome(text).ok();
    (void)job::decode_loss(text).ok();
    (void)job::decode_meeting(text).ok();
    (void)job::decode_absence(text).ok();
    (void)job::decode_ranks(text).ok();
    (void)job::decode_values(text).ok();
    Result<job::ControlMessage> message = job::decode_control(kind, now, number, body, value);
    if (kind >= 128) {
      job::ControlMessage made = make_message(kind - 128, now, number, text);
      message =
          job::decode_control(kind - 128, now, number, job::encode_body(made), as_bytes(std::string_view(made.value)));
    }
    if (!message.ok()) continue;
    (void)job::status_of(*message).ok();
    rendezvous.received(connection % 5, *message, now);
    if (kind % 128 == 17) now += 300 * kMillisecond;  // so much that waiting members are reported
    if (kind % 128 == 18) rendezvous.disconnected(connection % 5, now);
    rendezvous.advance(now);
    (void)rendezvous.take_outgoing();
    (void)rendezvous.take_decisions();
    (void)rendezvous.next_time();
  }
  return 0;
}
