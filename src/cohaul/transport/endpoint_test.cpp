// Greeting: which peers are let in, which are refused and with which words; and what the death of a real process
// looks like.

#include "cohaul/transport/endpoint.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "cohaul/transport/hello.h"
#include "cohaul/transport/socket.h"
#include "cohaul/transport/test_pairs.h"

namespace cohaul::transport {
namespace {

Time soon() { return steady_clock().now() + 10 * kSecond; }

struct Greeter {
  std::unique_ptr<Poller> poller = *make_poller();
  std::unique_ptr<Endpoint> endpoint = *listen(*poller, test_identity(0), "127.0.0.1", 0);

  /// What connect() of `self` says, while this end greets.
  Status knock(const Identity& self, Form form) {
    Status out;
    std::thread other([&, to = endpoint->address()] {
      out = connect(to, self, form, soon()).status();
      done = true;
      poller->wake();
    });
    while (!done) {
      (void)poller->wait(soon());
      if (auto c = endpoint->accept(); c.ok() && *c) accepted.push_back(std::move(*c));
    }
    other.join();
    done = false;
    return out;
  }
  std::atomic<bool> done{false};
  std::vector<std::unique_ptr<Channel>> accepted;
};

class Greeting : public testing::TestWithParam<Form> {};
INSTANTIATE_TEST_SUITE_P(Forms, Greeting, testing::Values(Form::arena, Form::tcp),
                         [](const auto& i) { return i.param == Form::arena ? "arena" : "tcp"; });

TEST_P(Greeting, RefusesWithTheReasonOnBothSides) {
  Greeter here;
  auto refused = [&](Identity self, const char* reason) {
    Status s = here.knock(self, GetParam());
    EXPECT_EQ(s.code(), Code::invalid);
    EXPECT_NE(s.message().find(reason), std::string::npos) << s.message();
    EXPECT_NE(here.endpoint->last_refusal().find(reason), std::string::npos) << here.endpoint->last_refusal();
  };
  Identity who = test_identity(1);
  who.job = 8;
  refused(who, "different jobs");
  who = test_identity(1);
  who.token = 1;
  refused(who, "token");
  who = test_identity(1);
  who.generation = Generation(3);
  refused(who, "generation");
  EXPECT_TRUE(here.accepted.empty());
  EXPECT_TRUE(here.knock(test_identity(1), GetParam()).ok());
  EXPECT_EQ(here.accepted.size(), 1u);
}

TEST_P(Greeting, AnotherModelIsRefusedAnUnknownOneIsNot) {
  Greeter here;
  Identity self = test_identity(0), other = test_identity(1);
  self.model = 5;
  here.endpoint = *listen(*here.poller, self, "127.0.0.1", 0);
  other.model = 6;
  Status s = here.knock(other, GetParam());
  EXPECT_EQ(s.code(), Code::invalid);
  EXPECT_NE(s.message().find("the two processes have different models"), std::string::npos) << s.message();
  EXPECT_NE(s.message().find("0000000000000005"), std::string::npos) << s.message();
  other.model = 0;
  EXPECT_TRUE(here.knock(other, GetParam()).ok());
}

TEST(Endpoint, AnotherVersionIsToldSo) {
  Greeter here;
  auto hello = encode_hello(test_identity(1), FrameType::hello, 0);
  Header h;
  std::memcpy(&h, hello.data(), sizeof h);
  h.version = 9;
  seal(h);
  std::memcpy(hello.data(), &h, sizeof h);
  auto socket = *tcp_connect("127.0.0.1", here.endpoint->address().port);
  ASSERT_TRUE(wait_for(socket.get(), POLLOUT, soon()));
  ASSERT_EQ(send_with_descriptors(socket.get(), hello, {}), static_cast<long>(hello.size()));
  std::byte answer[kHeaderBytes + kHelloBytesMax];
  std::vector<Descriptor> none;
  long n = -1;
  for (int i = 0; i < 100 && n < 0; ++i) {
    (void)here.poller->wait(steady_clock().now() + 10 * kMillisecond);
    EXPECT_EQ(*here.endpoint->accept(), nullptr);
    n = receive_with_descriptors(socket.get(), answer, none);
  }
  ASSERT_GT(n, static_cast<long>(kHeaderBytes));
  EXPECT_EQ(decode_header(answer)->type, FrameType::refusal);
  Status why = decode_refusal(ConstBytes(answer, static_cast<std::size_t>(n)).subspan(kHeaderBytes));
  EXPECT_EQ(why.code(), Code::unsupported);
  EXPECT_NE(why.message().find(std::to_string(kWireVersion) + " here, 9 there"), std::string::npos) << why.message();
}

TEST(Endpoint, ReadsTheNamesOfFormsThatItWrites) {
  for (const Form form : {Form::auto_, Form::arena, Form::tcp}) EXPECT_EQ(form_of(name(form)), form);
  EXPECT_EQ(name(Form::arena), "arena");
  EXPECT_EQ(form_of("ring"), std::nullopt);
}

TEST(Endpoint, NobodyThereIsPeerLostNamingTheAddress) {
  Address to{"", {"127.0.0.1"}, 1};
  Status s = connect(to, test_identity(1), Form::auto_, steady_clock().now() + 30 * kMillisecond).status();
  EXPECT_EQ(s.code(), Code::peer_lost);
  EXPECT_NE(s.message().find("127.0.0.1 port 1"), std::string::npos) << s.message();
  EXPECT_EQ(connect(to, test_identity(1), Form::arena, soon()).status().code(), Code::unsupported);
}

TEST(Endpoint, ATakenPortIsNamed) {
  Greeter here;
  auto again = listen(*here.poller, test_identity(0), "127.0.0.1", here.endpoint->address().port);
  EXPECT_EQ(again.status().code(), Code::unavailable);
  EXPECT_NE(again.status().message().find(std::to_string(here.endpoint->address().port)), std::string::npos);
  EXPECT_EQ(listen(*here.poller, test_identity(0), "localhost?", 0).status().code(), Code::invalid);
}

TEST(Endpoint, IsReachedAtTheFirstAddressThatAnswers) {
  auto poller = *make_poller();
  auto made = listen(*poller, test_identity(0), {.hosts = {"127.0.0.2", "127.0.0.3"}});
  ASSERT_TRUE(made.ok()) << made.status().message();
  const Address address = (*made)->address();
  EXPECT_EQ(address.hosts, (std::vector<std::string>{"127.0.0.2", "127.0.0.3"}));
  const std::vector<std::vector<std::string>> ways{
      {"127.0.0.2"}, {"127.0.0.3"}, {"127.0.0.9", "127.0.0.3"}, {"::1", "127.0.0.9", "127.0.0.2"}};
  for (const auto& hosts : ways) {
    std::atomic<bool> done = false;
    Status status;
    std::thread other([&] {
      status = connect({"", hosts, address.port}, test_identity(1), Form::auto_, soon()).status();
      done = true;
      poller->wake();
    });
    while (!done) {
      ASSERT_TRUE(poller->wait(soon()).ok());
      (void)(*made)->accept();
    }
    other.join();
    EXPECT_TRUE(status.ok()) << status.message();
  }
  const auto partly = listen(*poller, test_identity(0), {.hosts = {"192.0.2.77", "127.0.0.4"}});
  ASSERT_TRUE(partly.ok()) << partly.status().message();
  EXPECT_EQ((*partly)->address().hosts, (std::vector<std::string>{"127.0.0.4"}));  // this host has not the other
  EXPECT_EQ(listen(*poller, test_identity(0), {.hosts = {"192.0.2.77"}}).status().code(), Code::invalid);
  const Status nobody = connect({"", {"127.0.0.8", "127.0.0.9"}, address.port}, test_identity(1), Form::auto_,
                                steady_clock().now() + 30 * kMillisecond)
                            .status();
  EXPECT_NE(nobody.message().find("127.0.0.8 or 127.0.0.9 port"), std::string::npos) << nobody.message();
}

TEST(Endpoint, ListensWithinARangeOfPorts) {
  auto poller = *make_poller();
  const std::uint16_t first = (*listen(*poller, test_identity(0), "127.0.0.1", 0))->address().port;
  const Listening range{.hosts = {"127.0.0.1"}, .ports = {first, static_cast<std::uint16_t>(first + 1)}};
  std::vector<std::unique_ptr<Endpoint>> taken;
  for (int i = 0; i < 2; ++i) {
    auto one = listen(*poller, test_identity(0), range);
    if (!one.ok()) break;  // another program has the second
    EXPECT_GE((*one)->address().port, first);
    EXPECT_LE((*one)->address().port, first + 1);
    taken.push_back(std::move(*one));
  }
  ASSERT_FALSE(taken.empty());
  const auto none = listen(*poller, test_identity(0), range);
  EXPECT_EQ(none.status().code(), Code::unavailable);
  EXPECT_NE(none.status().message().find("all ports from"), std::string::npos) << none.status().message();
}

/// Silent connections are dropped, the oldest first, so that an honest peer of the same address comes in.
TEST(Endpoint, ACrowdKeepsNobodyOut) {
  constexpr int kCrowd = 300, kGreetings = 64;
  Greeter here;
  std::vector<Descriptor> crowd;
  for (int i = 0; i < kCrowd; ++i) {
    crowd.push_back(*tcp_connect("127.0.0.1", here.endpoint->address().port));
    ASSERT_TRUE(wait_for(crowd.back().get(), POLLOUT, soon()));
    if (i % 50 == 0) (void)here.endpoint->accept();
  }
  EXPECT_TRUE(here.knock(test_identity(1), Form::tcp).ok());
  EXPECT_EQ(here.accepted.size(), 1u);
  EXPECT_NE(here.endpoint->last_refusal().find("too many connections from 127.0.0.1"), std::string::npos);
  int open = 0;
  for (const Descriptor& socket : crowd) open += wait_for(socket.get(), POLLIN, 0) ? 0 : 1;
  EXPECT_LE(open, kGreetings);
  EXPECT_GT(open, 0);
}

TEST(Endpoint, AddressesOfThisHostAreTriedLast) {
  const Address to{"", {"127.0.0.1", "192.0.2.1", "127.0.0.5", "2001:db8::1"}, 1};
  EXPECT_EQ(to.own_last().hosts, (std::vector<std::string>{"192.0.2.1", "2001:db8::1", "127.0.0.1", "127.0.0.5"}));
  const Address own{"", {"127.0.0.5", "127.0.0.1"}, 1};
  EXPECT_EQ(own.own_last().hosts, own.hosts);
}

TEST(Endpoint, AddressGoesThroughText) {
  for (const Address& a : {Address{"name", {"::1"}, 4242}, Address{"", {"10.0.0.1", "fe80::1%eth0"}, 1}}) {
    auto b = Address::decode(a.encode());
    ASSERT_TRUE(b.ok());
    EXPECT_EQ(b->encode(), a.encode());
    EXPECT_EQ(b->hosts, a.hosts);
  }
  for (const char* bad : {"", "a", "a|1", "a|70000|c", "a|1|", "a|1|b|c", "a|x|c", "a||c", "a|1|b,,c", "a|1|b,"}) {
    EXPECT_EQ(Address::decode(bad).status().code(), Code::corrupt) << bad;
  }
}

TEST_P(Greeting, AKilledPeerIsNoticedAtOnce) {
  Greeter here;
  Address to = here.endpoint->address();
  pid_t child = fork();
  if (child == 0) {
    auto c = connect(to, test_identity(1), GetParam(), soon());
    if (c.ok()) (void)(*c)->send({.kind = 5});
    pause();
    _exit(0);
  }
  std::unique_ptr<Channel> channel;
  for (Time end = soon(); !channel && steady_clock().now() < end;) {
    ASSERT_TRUE(here.poller->wait(end).ok());
    channel = *here.endpoint->accept();
  }
  ASSERT_TRUE(channel);
  ASSERT_TRUE(here.poller->add(*channel).ok());
  std::optional<Frame> frame;
  for (Time end = soon(); !frame && steady_clock().now() < end;) {
    ASSERT_TRUE(here.poller->wait(end).ok());
    frame = *channel->receive();
  }
  ASSERT_TRUE(frame);
  std::thread killer([&] { kill(child, SIGKILL); });
  Time start = steady_clock().now();
  Status s;
  while (s.ok() && steady_clock().now() < start + 10 * kSecond) {
    ASSERT_TRUE(here.poller->wait(start + 10 * kSecond).ok());
    s = channel->receive().status();
  }
  EXPECT_EQ(s.code(), Code::peer_lost);
  EXPECT_NE(s.message().find("worker 1"), std::string::npos);
  EXPECT_LT(steady_clock().now() - start, kSecond);
  killer.join();
  waitpid(child, nullptr, 0);
  here.poller->remove(*channel);
}

}  // namespace
}  // namespace cohaul::transport
