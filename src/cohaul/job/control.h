#pragma once
// What members and the rendezvous say to each other, and its layout on the wire. One message is one frame:
//
//   frame.kind   ControlKind
//   frame.clock  request: chosen by the member, repeated in the reply (0: none)
//   frame.key    number: a count, or the Code of a reply
//   frame.body   i64 timeout_ms | u32 length, key
//   frame.payload  value: at most kValueBytesMax
//
// The value of join is a member, of its reply a welcome, of lost a loss, of meet a meeting, of
// waits an absence, of left a list of ranks, of the reply to gather a list of values:
//
//   member   u8 role | i32 rank | i64 pid | u64 incarnation | text process | text host | text host_id | text cpus | i32 quota
//            | i32 threads | text instruction set | text log (text: u32 length, bytes)
//   members  u32 count | member…
//   welcome  i32 threads | text ranks (of hosts: how many workers in turn, and the host) | text members
//   ranks    u32 count | i32…
//   values   u32 count | text…
//   meeting  text group | i64 number | i64 progress | text purpose | text facts
//   absence  i32 rank | meeting, without facts
//   loss     u8 role | i32 rank | i32 exit code | u8 reported | text how | text operation | text place

#include <string>
#include <string_view>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/limits.h"
#include "cohaul/base/status.h"
#include "cohaul/job/meeting.h"
#include "cohaul/job/membership.h"

namespace cohaul::job {

enum class ControlKind : std::uint16_t {
  // A member says:
  join = 1,       // number: workers, key: version of the library, value: member. Reply when all have joined: welcome
  heartbeat = 2,  // number: ms since it last waited for others, 0: it waits; value: last operation. Answered by `alive`
  set = 3,        // key, value
  get = 4,        // key, timeout_ms, number: 1 + rank of its setter, 0: any. Reply when it is there: the value
  barrier = 5,    // key, number: how many meet, timeout_ms. Reply when they have met
  leave = 6,      // goodbye
  failed = 7,     // number: Code, value: message, key: last operation
  commit = 8,     // only this member counts from now on. Reply: ok, or the loss that came before
  overdue = 9,    // number: ms that it has waited, to its deadline. Reply: ok, or the loss of a stuck process
  meet = 10,      // value: meeting, timeout_ms. Reply when all workers have come, or it is known that they will not
  gather = 11,  // key, timeout_ms, number: how many, value: kSetBy…. Reply when key0, key1, … are there: their values
  // The rendezvous says:
  reply = 16,  // to a request; number: Code, value: the answer, or what is wrong
  alive = 17,  // to a heartbeat
  lost = 18,   // value: loss
  waits = 19,  // a worker has waited at a meeting for a while; value: absence
  left = 20,   // workers have said goodbye; value: their ranks
};

struct ControlMessage {
  ControlKind kind = ControlKind::heartbeat;
  std::int64_t request = 0;
  std::uint64_t number = 0;
  std::int64_t timeout_ms = 0;
  std::string key, value;
};

/// Returns the body of the frame.
std::vector<std::byte> encode_body(const ControlMessage& message);
/// Reads a foreign frame. corrupt: an unknown kind, a length out of bounds.
Result<ControlMessage> decode_control(std::uint16_t kind, std::int64_t clock, std::uint64_t key, ConstBytes body,
                                      ConstBytes payload);

/// What gather says of the processes that set the values: each value is set by the worker of its number, or by any
/// process.
constexpr char kSetByWorkers[] = "workers", kSetByAnyone[] = "";

std::string encode_members(const std::vector<Member>& members);
Result<std::vector<Member>> decode_members(std::string_view bytes);
/// What a member learns when all have joined.
struct Welcome {
  std::vector<Member> members{};  // worker 0: all; others: those of the same host
  std::vector<int> hosts{};       // by worker: the first worker of its host
  int threads = 1;                // of each worker, where job.threads is not set
};
std::string encode_welcome(const Welcome& welcome);
/// Errors: corrupt (foreign bytes that are no welcome).
Result<Welcome> decode_welcome(std::string_view bytes);
std::string encode_ranks(const std::vector<int>& ranks);
Result<std::vector<int>> decode_ranks(std::string_view bytes);
std::string encode_values(const std::vector<std::string>& values);
Result<std::vector<std::string>> decode_values(std::string_view bytes);
/// Checks what the wire can carry: invalid where a text is too long or a number negative.
Status check(const Meeting& meeting);
std::string encode_meeting(const Meeting& meeting);
Result<Meeting> decode_meeting(std::string_view bytes);
std::string encode_absence(const Absence& absence);
Result<Absence> decode_absence(std::string_view bytes);
std::string encode_loss(const Loss& loss);
Result<Loss> decode_loss(std::string_view bytes);

/// Returns the version of this library. Members of one job must have the same.
std::string_view library_version();
/// Returns the message of a process that joins a job of so many workers. The sender sets request and timeout.
ControlMessage make_join(const Member& member, int workers);

/// Turns a Status into a reply or a failure, and back. An unknown code is `internal`.
ControlMessage make_reply(std::int64_t request, const Status& status, std::string value = {});
Status status_of(const ControlMessage& message);

}  // namespace cohaul::job
