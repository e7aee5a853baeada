#include "cohaul/job/host_port.h"

#include <gtest/gtest.h>

namespace cohaul::job {
namespace {

TEST(HostPortTest, Parses) {
  EXPECT_EQ(parse_host_port("node:5")->port, 5);
  EXPECT_EQ(parse_host_port("[::1]:5")->host, "::1");
  EXPECT_EQ(parse_host_port("[::1]:5")->text(), "[::1]:5");
  EXPECT_EQ(parse_host_port("::1")->host, "::1");
  EXPECT_EQ(parse_host_port("127.0.0.1")->port, 0);
  for (const char* bad : {"", ":5", "h:", "h:x", "h:65536", "[::1", "[::1]5", "[::1]:", "h:-1"})
    EXPECT_FALSE(parse_host_port(bad).ok()) << bad;
  EXPECT_EQ(*local_address_towards("127.0.0.1"), "127.0.0.1");
}

TEST(HostPortTest, ParsesRangesOfPorts) {
  EXPECT_EQ(parse_ports("20000-20100")->last, 20100);
  EXPECT_EQ(parse_ports("7000")->first, 7000);
  EXPECT_EQ(parse_ports("7000")->last, 7000);
  for (const char* bad : {"", "0", "5-4", "1-70000", "a", "1-", "-2", "1 2"})
    EXPECT_FALSE(parse_ports(bad).ok()) << bad;
}

TEST(HostPortTest, ListsOfHosts) {
  EXPECT_EQ(split_hosts("a,b"), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(split_hosts(",a,,"), (std::vector<std::string>{"a"}));
  EXPECT_EQ(comma_list({"a", "b"}), "a,b");
}

TEST(OwnAddresses, AreThoseOfAnInterfaceANameOrAnAddress) {
  EXPECT_EQ(own_addresses("lo")->front(), "127.0.0.1");
  EXPECT_EQ(*own_addresses("127.0.0.5"), (std::vector<std::string>{"127.0.0.5"}));
  EXPECT_TRUE(is_loopback(own_addresses("localhost")->front()));
  if (const auto all = own_addresses("*"); all.ok()) {
    for (const std::string& address : *all) {
      EXPECT_FALSE(is_loopback(address));
      EXPECT_EQ(*own_addresses(address), (std::vector<std::string>{address}));
    }
  }
}

TEST(OwnAddresses, OthersAreRefusedWithWhatThereIs) {
  const Status elsewhere = own_addresses("192.0.2.7").status();
  EXPECT_EQ(elsewhere.code(), Code::invalid);
  EXPECT_NE(elsewhere.message().find("no address of this host; it has lo (127.0.0.1)"), std::string::npos)
      << elsewhere.message();
  const Status unknown = own_addresses("eth77").status();
  EXPECT_EQ(unknown.code(), Code::invalid);
  EXPECT_NE(unknown.message().find("'eth77' is no address, name or interface of this host"), std::string::npos)
      << unknown.message();
}

TEST(Resolve, AsksUntilTheDeadline) {
  const Time start = steady_clock().now();
  const Status unknown = resolve("no-such-host.invalid", start + 300 * kMillisecond).status();
  EXPECT_EQ(unknown.code(), Code::invalid);
  EXPECT_GE(steady_clock().now() - start, 300 * kMillisecond);
}

}  // namespace
}  // namespace cohaul::job
