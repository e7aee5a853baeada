#include "cohaul/transport/wire.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>

#include "cohaul/base/random.h"
#include "cohaul/transport/hello.h"
#include "cohaul/transport/ring.h"
#include "cohaul/transport/test_pairs.h"

namespace cohaul::transport {
namespace {

ConstBytes bytes_of(const Header& h) { return as_bytes(std::span<const Header>(&h, 1)); }

TEST(Wire, EveryFlippedBitOfAHeaderIsNoticed) {
  Header h = header_from(test_identity(3), FrameType::data);
  h.payload_length = 77;
  seal(h);
  ASSERT_TRUE(decode_header(bytes_of(h)).ok());
  for (std::size_t bit = 0; bit < 8 * kHeaderBytes; ++bit) {
    Header bad = h;
    reinterpret_cast<unsigned char*>(&bad)[bit / 8] ^= 1 << bit % 8;
    Code code = decode_header(bytes_of(bad)).status().code();
    EXPECT_EQ(code, bit / 8 == 4 || bit / 8 == 5 ? Code::unsupported : Code::corrupt) << bit;
  }
  EXPECT_EQ(decode_header(bytes_of(h).first(kHeaderBytes - 1)).status().code(), Code::corrupt);
}

TEST(Wire, LimitsHoldAlsoUnderARightChecksum) {
  auto code = [](auto change) {
    Header h;
    change(h);
    seal(h);
    return decode_header(bytes_of(h)).status().code();
  };
  EXPECT_EQ(code([](Header&) {}), Code::ok);
  EXPECT_EQ(code([](Header& h) { h.body_length = kBodyBytesMax + 1; }), Code::corrupt);
  EXPECT_EQ(code([](Header& h) { h.payload_length = kPayloadBytesMax + 1; }), Code::corrupt);
  EXPECT_EQ(code([](Header& h) { h.type = FrameType{9}; }), Code::corrupt);
  EXPECT_EQ(code([](Header& h) { h.flags = 2; }), Code::corrupt);
  EXPECT_EQ(code([](Header& h) { h.sender_role = Role{4}; }), Code::corrupt);
}

TEST(Wire, AFrameOfSomebodyElseIsCorrupt) {
  Identity peer = test_identity(1);
  EXPECT_TRUE(check_sender(header_from(peer, FrameType::data), peer).ok());
  Identity old = peer;
  old.incarnation = Incarnation(1);
  EXPECT_EQ(check_sender(header_from(old, FrameType::data), peer).code(), Code::corrupt);
  old = peer;
  old.generation = Generation(9);
  EXPECT_EQ(check_sender(header_from(old, FrameType::data), peer).code(), Code::corrupt);
}

TEST(Hello, ComesBackAndIgnoresWhatLaterVersionsAdd) {
  Identity who = test_identity(2);
  who.model = 42;
  auto frame = encode_hello(who, FrameType::hello, kCapabilityRing);
  ConstBytes body = ConstBytes(frame).subspan(kHeaderBytes);
  auto hello = decode_hello(*decode_header(frame), body);
  ASSERT_TRUE(hello.ok()) << hello.status().message();
  EXPECT_EQ(hello->who.token, who.token);
  EXPECT_EQ(hello->who.model, 42u);
  EXPECT_EQ(hello->who.purpose, "test");
  EXPECT_EQ(hello->capabilities, kCapabilityRing);
  std::vector<std::byte> longer(body.begin(), body.end());
  longer.push_back(std::byte{1});
  Header h = *decode_header(frame);
  h.body_length = static_cast<std::uint32_t>(longer.size());
  h.content_checksum = content_checksum(longer, {});
  EXPECT_TRUE(decode_hello(h, longer).ok());
  h.body_length = 5;
  h.content_checksum = content_checksum(body.first(5), {});
  EXPECT_EQ(decode_hello(h, body.first(5)).status().code(), Code::corrupt);
}

/// Returns how many bytes of arenas called "test" are mapped.
std::uint64_t mapped_bytes() {
  std::ifstream maps("/proc/self/maps");
  std::uint64_t bytes = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("cohaul-test") == line.npos) continue;
    std::size_t length = 0;
    const std::uint64_t begin = std::stoull(line, &length, 16);
    bytes += std::stoull(line.substr(length + 1), nullptr, 16) - begin;
  }
  return bytes;
}

TEST(Arena, IsSparseSealedAndChecksAddresses) {
  auto arena = *Arena::create("test", std::size_t{64} << 30);
  arena.bytes().back() = std::byte{7};
  EXPECT_TRUE(arena.resolve({arena.id(), arena.bytes().size(), 0}).ok());
  EXPECT_EQ((*arena.resolve({arena.id(), arena.bytes().size() - 1, 1}))[0], std::byte{7});
  for (Region bad : {Region{arena.id(), arena.bytes().size(), 1}, Region{arena.id(), 8, UINT64_MAX},
                     Region{arena.id(), UINT64_MAX, 8}, Region{arena.id() + 1, 0, 1}, Region{}}) {
    EXPECT_EQ(arena.resolve(bad).status().code(), Code::corrupt);
  }
  EXPECT_NE(ftruncate(arena.fd(), 10), 0);
  auto again = *Arena::map(arena.id(), dup(arena.fd()), Access::read);
  EXPECT_EQ(again.bytes().back(), std::byte{7});
  EXPECT_EQ(again.region_of(again.bytes().subspan(5, 6)).offset, 5u);
  EXPECT_EQ(arena.region_of(again.bytes().first(1)).arena, kNoArena);
  int unsealed = memfd_create("open", MFD_ALLOW_SEALING);
  EXPECT_EQ(Arena::map(5, unsealed, Access::read).status().code(), Code::corrupt);
}

TEST(Arena, InWindowsIsMappedAsItIsUsedOnBothSides) {
  constexpr std::size_t kFirst = 1 << 20;
  auto arena = *Arena::create_in_windows("test", std::uint64_t{1} << 40, kFirst);
  EXPECT_EQ(arena.bytes().size(), kFirst);
  auto peer = *Arena::map(arena.id(), dup(arena.fd()), Access::read, kFirst);
  peer.close_descriptor();
  const std::uint64_t before = mapped_bytes();
  for (const std::uint64_t at : {std::uint64_t{0}, 5 * kFirst, 3 * kFirst, 9 * kFirst}) {
    Bytes here = *arena.windows()->at(at, 100);
    here[7] = std::byte{42};
    const Region region = arena.region_of(here);
    EXPECT_EQ(region.offset, at);
    EXPECT_EQ((*peer.resolve(region))[7], std::byte{42});
  }
  // Windows of 2, 4 and 8 MiB, at both sides.
  EXPECT_EQ(mapped_bytes() - before, 2 * 14 * kFirst);
  for (Region bad : {Region{arena.id(), 2 * kFirst - 1, 2}, Region{arena.id(), std::uint64_t{1} << 40, 1}})
    EXPECT_EQ(arena.resolve(bad).status().code(), Code::corrupt);
  EXPECT_EQ(Arena::map(arena.id(), dup(arena.fd()), Access::read, 1000).status().code(), Code::corrupt);
  EXPECT_EQ(Arena::map(arena.id(), dup(arena.fd()), Access::read, std::uint64_t{1} << 41).status().code(),
            Code::corrupt);
}

struct Loop {
  Arena memory = *make_ring();
  RingWriter writer{memory, -1};
  RingReader reader{memory, -1};
  std::uint64_t* index() { return reinterpret_cast<std::uint64_t*>(memory.bytes().data() + kRingIndexAt); }
  Header* frame(std::uint64_t at) { return reinterpret_cast<Header*>(memory.bytes().data() + at); }
  void put() {
    Header h;
    ASSERT_TRUE(writer.put(h, {}, {}, nullptr).ok());
  }
};

TEST(Ring, BelievesNothingThatThePeerWrites) {
  {
    Loop l;
    l.put();
    l.index()[0] = kRingBytes - 64;
    EXPECT_EQ(l.reader.next().status().code(), Code::corrupt);
  }
  {
    Loop l;
    l.put();
    l.index()[0] = 8;
    EXPECT_EQ(l.reader.next().status().code(), Code::corrupt);
  }
  {
    Loop l;
    l.put();
    l.writer.control().head = kQueueFramesMax + 1;
    EXPECT_EQ(l.reader.next().status().code(), Code::corrupt);
  }
  {
    Loop l;
    l.put();
    l.frame(kRingAreaAt)->key ^= 1;
    EXPECT_EQ(l.reader.next().status().code(), Code::corrupt);
  }
  {
    Loop l;
    l.put();
    l.writer.control().tail = 2;
    Header h;
    EXPECT_EQ(l.writer.put(h, {}, {}, nullptr).code(), Code::corrupt);
  }
  {
    Loop l;
    l.put();
    l.index()[0] = kRingWindowBytes - 4096;
    Header h;
    h.payload_length = 8192;
    seal(h);
    *l.frame(kRingWindowBytes - 4096) = h;
    EXPECT_EQ(l.reader.next().status().code(), Code::corrupt);
  }
}

TEST(Ring, AFrameThatIsHeldDoesNotStopTheOthers) {
  Loop l;
  std::vector<std::byte> payload(40'000, std::byte{1});
  auto send = [&] {
    Header h;
    h.payload_length = payload.size();
    return l.writer.put(h, {}, payload, nullptr).ok() && l.reader.next().ok();
  };
  std::uint64_t n = 0;
  for (; n < 10; ++n) ASSERT_TRUE(send());
  for (std::uint64_t back = 0; back < 4; ++back) l.reader.give_back(back);  // a gap at the front; 4 is held
  for (; n < kQueueFramesMax + 4; ++n) ASSERT_TRUE(send()) << n;
  EXPECT_FALSE(send()) << "as many as the index has";
}

// Random sizes, random order of release, against a plain copy of what was sent.
TEST(Ring, KeepsEveryByteThroughAnyOrderOfRelease) {
  Loop l;
  Random random(11);
  struct Out {
    std::uint64_t n;
    ConstBytes payload;
    std::vector<std::byte> copy;
  };
  std::vector<Out> out;
  for (std::uint64_t n = 0; n < 20000; ++n) {
    std::vector<std::byte> payload(random.below(random.below(8) == 0 ? 60000 : 200), static_cast<std::byte>(n));
    Header h;
    h.payload_length = payload.size();
    Status put = l.writer.put(h, {}, payload, nullptr);
    ASSERT_TRUE(put.ok()) << put.message() << " at " << n;
    auto found = l.reader.next();
    ASSERT_TRUE(found.ok()) << found.status().message();
    out.push_back({n, found->payload, payload});
    while (out.size() > 20 + random.below(200)) {
      // One in eight is the oldest: a frame held for ever would fill the ring.
      auto oldest = std::min_element(out.begin(), out.end(), [](auto& a, auto& b) { return a.n < b.n; });
      std::swap(random.below(8) == 0 ? *oldest : out[random.below(out.size())], out.back());
      ASSERT_TRUE(std::ranges::equal(out.back().payload, out.back().copy));
      l.reader.give_back(out.back().n);
      out.pop_back();
    }
  }
}

}  // namespace
}  // namespace cohaul::transport
