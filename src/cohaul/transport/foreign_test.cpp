// A peer that knows the token and then writes nonsense: corrupt, naming it, and nothing worse.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>

#include "cohaul/transport/ring_channel.h"
#include "cohaul/transport/socket.h"
#include "cohaul/transport/tcp_channel.h"
#include "cohaul/transport/test_pairs.h"

namespace cohaul::transport {
namespace {

struct Sockets {
  explicit Sockets(int type) {
    int fds[2];
    EXPECT_EQ(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    ours = Descriptor(fds[0]);
    theirs = Descriptor(fds[1]);
  }
  Descriptor ours, theirs;
};

void expect_corrupt(Channel& channel, const char* reason) {
  Status s = channel.receive().status();
  EXPECT_EQ(s.code(), Code::corrupt);
  EXPECT_NE(s.message().find("worker 1"), std::string::npos) << s.message();
  EXPECT_NE(s.message().find(reason), std::string::npos) << s.message();
  EXPECT_EQ(channel.send({}).code(), Code::corrupt) << "sticky";
}

Header good() { return header_from(test_identity(1), FrameType::data); }
ConstBytes bytes_of(const Header& h) { return as_bytes(std::span<const Header>(&h, 1)); }

void tcp_gets(const std::function<void(Header&)>& change, const char* reason) {
  Sockets s(SOCK_STREAM);
  TcpChannel channel(*make_stream(std::move(s.ours), {}, Side::accepting), test_identity(0), test_identity(1));
  Header h = good();
  h.content_checksum = content_checksum({}, {});
  change(h);
  std::byte body[8]{};
  ASSERT_GT(send_with_descriptors(s.theirs.get(), bytes_of(h), {}), 0);
  ASSERT_GT(send_with_descriptors(s.theirs.get(), body, {}), 0);
  expect_corrupt(channel, reason);
}

TEST(Foreign, NonsenseOverTcp) {
  tcp_gets(
      [](Header& h) {
        seal(h);
        h.key = 1;
      },
      "checksum");
  tcp_gets(
      [](Header& h) {
        h.body_length = 8;
        seal(h);
      },
      "content");
  tcp_gets(
      [](Header& h) {
        h.sequence = 1;
        seal(h);
      },
      "missing");
  tcp_gets(
      [](Header& h) {
        h.flags = kPayloadByAddress;
        seal(h);
      },
      "type");
  tcp_gets(
      [](Header& h) {
        h.type = FrameType::hello;
        seal(h);
      },
      "type");
  tcp_gets(
      [](Header& h) {
        h.incarnation = 1;
        seal(h);
      },
      "incarnation");
  tcp_gets(
      [](Header& h) {
        h.job = 1;
        seal(h);
      },
      "job");
}

TEST(Foreign, HalfAFrameIsNoFrame) {
  Sockets s(SOCK_STREAM);
  TcpChannel channel(*make_stream(std::move(s.ours), {}, Side::accepting), test_identity(0), test_identity(1));
  Header h = good();
  h.payload_length = 100;
  seal(h);
  ASSERT_GT(send_with_descriptors(s.theirs.get(), bytes_of(h), {}), 0);
  auto none = channel.receive();
  ASSERT_TRUE(none.ok());
  EXPECT_FALSE(none->has_value());
  s.theirs = Descriptor();
  EXPECT_EQ(channel.receive().status().code(), Code::peer_lost);
}

/// Our channel, and the peer's bare ring beside its end of the socket.
struct RawRing {
  RawRing() {
    RingParts parts = *RingParts::make();
    memory = *Arena::map(1, dup(parts.to_client.fd()), Access::write, kRingWindowBytes);
    writer.emplace(memory, -1);
    channel.emplace(std::move(sockets.ours), std::move(parts), test_identity(0), test_identity(1));
  }
  void put(ArenaId arena, std::uint64_t offset, std::uint64_t length) {
    Header h = good();
    h.flags = kPayloadByAddress;
    h.payload_arena = arena;
    h.payload_offset = offset;
    h.payload_length = length;
    ASSERT_TRUE(writer->put(h, {}, {}, nullptr).ok());
  }
  void lend(const Arena& arena, std::span<const int> fds) {
    Header h = header_from(test_identity(1), FrameType::lend);
    h.payload_arena = arena.id();
    seal(h);
    ASSERT_GT(send_with_descriptors(sockets.theirs.get(), bytes_of(h), fds), 0);
  }
  Sockets sockets{SOCK_SEQPACKET};
  Arena memory;
  std::optional<RingWriter> writer;
  std::optional<RingChannel> channel;
};

TEST(Foreign, AddressesOutsideWhatWasLent) {
  auto arena = *Arena::create("lent", 4096);
  int fd = arena.fd();
  {
    RawRing r;
    r.lend(arena, {&fd, 1});
    r.put(arena.id(), 4000, 96);
    auto f = r.channel->receive();
    ASSERT_TRUE(f.ok()) << f.status().message();
    EXPECT_EQ((**f).payload.size(), 96u);
    r.put(arena.id(), 4000, 97);
    expect_corrupt(*r.channel, "bounds");
  }
  {
    RawRing r;
    r.lend(arena, {&fd, 1});
    r.put(arena.id(), UINT64_MAX - 10, 11);
    expect_corrupt(*r.channel, "bounds");
  }
  {
    RawRing r;
    r.put(arena.id(), 0, 1);
    expect_corrupt(*r.channel, "not lent");
  }
  {
    RawRing r;
    r.lend(arena, {});
    r.put(arena.id(), 0, 1);
    expect_corrupt(*r.channel, "lends nothing");
  }
}

TEST(Foreign, AnArenaThatCouldShrinkIsNotMapped) {
  auto arena = *Arena::create("lent", 4096);
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  RawRing r;
  r.lend(arena, {&pipe_ends[0], 1});
  r.put(arena.id(), 0, 1);
  expect_corrupt(*r.channel, "sealed");
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

}  // namespace
}  // namespace cohaul::transport
