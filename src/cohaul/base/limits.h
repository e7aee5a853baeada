#pragma once
// All limits of what this process takes from users, files and other processes, and what happens beyond each. A limit stands in the namespace of
// the folder that holds to it. Where one limit depends on another, a static_assert says so.

#include <cstddef>
#include <cstdint>

namespace cohaul {

namespace config {
/// Of a job file: a larger one is refused (invalid).
constexpr std::size_t kFileBytesMax = 1 << 20;
/// Of keys with a number, as optimizer.group.0.lr: a higher number is an unknown key (invalid).
constexpr int kNumberedMax = 254;
}  // namespace config

namespace update {
/// Of all parameters and buffers of a model: a larger layout is refused (invalid; corrupt from a peer), before it costs memory.
constexpr std::uint64_t kLayoutBytesMax = std::uint64_t{1} << 42;
/// Of a partition: a longer bucket is cut into several.
constexpr std::size_t kPartitionBytesMax = 4 << 20;
/// Of a parameter that is not cut: a larger one is refused (invalid).
constexpr std::uint64_t kWholeBytesMax = std::uint64_t{1} << 32;
/// Of a bucket of small parameters: what follows begins a new one.
constexpr std::size_t kBucketBytesMax = 1 << 20;
constexpr std::size_t kBucketParametersMax = 16 << 10;
/// State arrays of a rule: a rule with more is an error of this library, which ends the process.
constexpr int kStatesMax = 3;
/// Groups of an optimizer: more are refused (invalid; corrupt from a peer).
constexpr std::size_t kGroupsMax = 256;
/// Slices of a step: more are refused (invalid; corrupt from a peer).
constexpr std::int32_t kSlicesMax = 1 << 20;
/// Of any length that a schedule is given, and by which factor the restarts' period may grow: more is refused (invalid).
constexpr std::int64_t kUpdatesMax = 1'000'000'000'000'000, kStretchMax = 1'000;
static_assert(kBucketBytesMax <= kPartitionBytesMax && kWholeBytesMax <= kLayoutBytesMax);
static_assert(config::kNumberedMax + 2 <= static_cast<int>(kGroupsMax),
              "a group for each number, and the one of all others");
}  // namespace update

namespace checkpoint {
/// Of a safetensors file's header, as in the reference implementation: a larger one is refused (invalid).
constexpr std::uint64_t kHeaderBytesMax = 100'000'000;
}  // namespace checkpoint

namespace transport {
/// Of a frame: a frame with more is not sent (invalid), and one that comes ends the connection (corrupt).
constexpr std::size_t kBodyBytesMax = 16 << 10;
constexpr std::uint64_t kPayloadBytesMax = std::uint64_t{1} << 32;
/// Frames that wait in a channel: send() refuses one more until some are taken (unavailable).
constexpr std::size_t kQueueFramesMax = 4096;
/// Body of a hello or its answer: a longer one is refused (corrupt), and the connection is closed.
constexpr std::size_t kHelloBytesMax = 1024;
/// Of a hello's purpose: what is longer is cut by its sender, and refused by its receiver (corrupt).
constexpr std::size_t kPurposeBytesMax = 64;
/// Of the reason in a refusal: what is longer is cut.
constexpr std::size_t kReasonBytesMax = 512;
/// Connections whose hello is not complete, of all, and from one address or one user of this host: the oldest of them is closed.
constexpr std::size_t kGreetingsMax = 1024;
constexpr std::size_t kGreetingsOfPeerMax = 64;
/// Descriptors that one message carries: a message that comes with more is refused; one to be sent is an error of this library, which ends the process.
constexpr std::size_t kDescriptorsMax = 4;
/// Hosts in an address: more are refused (corrupt).
constexpr std::size_t kHostsMax = 64;
/// Windows of shared memory: memory that needs more is refused (corrupt).
constexpr std::size_t kWindowsMax = 48;
static_assert(kPurposeBytesMax + 24 <= kHelloBytesMax && kReasonBytesMax + 5 <= kHelloBytesMax &&
              kHelloBytesMax <= kBodyBytesMax);
static_assert(kGreetingsOfPeerMax <= kGreetingsMax);
static_assert(kDescriptorsMax >= 4, "a ring's connection begins with two memfds and two eventfds");
static_assert(update::kPartitionBytesMax <= kPayloadBytesMax && update::kWholeBytesMax <= kPayloadBytesMax,
              "a partition travels in one frame");
}  // namespace transport

namespace job {
/// Workers that a job file or a list of hosts may ask for: more are refused (invalid).
constexpr int kLaunchedMax = 1024;
/// Threads of a worker: more are refused (invalid), and a share of more cores is cut to it.
constexpr int kThreadsMax = 1024;
/// Workers, servers and tasks that the environment may name: more are refused (invalid).
constexpr int kWorldMax = 1 << 16;
/// Of a value in the store, or of any message to and from the rendezvous: a longer one is refused (invalid; corrupt from a peer).
constexpr std::size_t kValueBytesMax = 1 << 20;
/// Of a key in the store, and of a meeting's group or purpose: a longer one is refused (invalid; corrupt from a peer).
constexpr std::size_t kKeyBytesMax = 1 << 10;
/// Workers in the list of hosts that a member gets: more are refused (corrupt).
constexpr std::size_t kListedMax = 1 << 20;
/// Of a file with certificates or a key, and of one with a secret: a larger one is refused (invalid).
constexpr std::size_t kCertificateBytesMax = 1 << 20, kSecretBytesMax = 4096;
/// Of a line that a PMI server sends: what is longer is cut.
constexpr std::size_t kLineBytesMax = 4096;
/// Of a message between launcher and agent: a longer one ends the connection (corrupt).
constexpr std::size_t kAgentMessageBytesMax = 64 << 20;
/// Output that waits in an agent to be sent: further output stays in its files until some is sent.
constexpr std::size_t kQueuedBytesMax = 4 << 20;
static_assert(kKeyBytesMax + 12 <= transport::kBodyBytesMax && kValueBytesMax <= transport::kPayloadBytesMax);
static_assert(kLaunchedMax <= kWorldMax && kWorldMax <= static_cast<int>(kListedMax));
static_assert(config::kFileBytesMax + 2 * kCertificateBytesMax < kAgentMessageBytesMax,
              "an agent gets job file and certificates");
}  // namespace job

namespace collective {
/// Frames of one peer that are kept while another is waited for: then its channel fills, and its own sends have to wait.
constexpr std::size_t kKeptFramesMax = 1024;
/// Facts of a step that go along with the end of a step: longer ones go in a frame of their own.
constexpr std::size_t kFactsInBodyMax = 12 << 10;
/// Facts of a step: longer ones are refused (invalid; corrupt from a peer).
constexpr std::size_t kFactsMax = 1 << 20;
/// Of the text that says why a rank cannot go on: what is longer is cut.
constexpr std::size_t kFailureTextMax = 8 << 10;
static_assert(kFactsInBodyMax <= kFactsMax && kFactsMax <= transport::kPayloadBytesMax);
static_assert(kFailureTextMax + 5 <= transport::kBodyBytesMax);
}  // namespace collective

namespace ps {
/// Workers and servers of a job with servers: more are refused (invalid; corrupt from a peer).
constexpr std::int32_t kWorkersMax = 4096;
constexpr std::int32_t kServersMax = 64;
/// Steps of a loop, so that sums do not overflow: more are refused (corrupt).
constexpr std::int64_t kStepsMax = std::int64_t{1} << 56;
/// Facts of a loop: longer ones are refused (invalid; corrupt from a peer).
constexpr std::size_t kFactsBytesMax = 8 << 10;
/// Complete subtrees that make up a range of slices: there are never more.
constexpr std::size_t kPartsMax = 40;
/// Of the reason in a refusal: what is longer is cut.
constexpr std::size_t kRefusalBytesMax = 4 << 10;
/// Steps that a partition remembers as not applied: of more, the oldest counts as applied, because it was skipped.
constexpr std::int64_t kHolesMax = 2 * 4096;
/// Steps that were skipped in a row: a push that is further ahead is refused (corrupt).
constexpr std::int64_t kJumpMax = std::int64_t{1} << 24;
static_assert(job::kLaunchedMax <= kWorkersMax && kWorkersMax <= job::kWorldMax && kServersMax <= kWorkersMax);
static_assert(update::kSlicesMax == 1 << (kPartsMax / 2), "a range has at most two subtrees of each size");
static_assert(kHolesMax >= 2 * kWorkersMax, "steps under way are no skipped ones");
static_assert(kRefusalBytesMax + 5 <= transport::kBodyBytesMax);
}  // namespace ps

namespace data {
/// Sides of an image in an IDX file: a longer one is refused (invalid).
constexpr std::uint32_t kSideMax = 1 << 14;
}  // namespace data

namespace cli {
/// Output of a child process that is kept: the rest is dropped.
constexpr std::size_t kCapturedBytesMax = 1 << 20;
/// Of a name in Kubernetes: a longer one is refused (invalid).
constexpr std::size_t kNameMax = 63;
}  // namespace cli

}  // namespace cohaul
