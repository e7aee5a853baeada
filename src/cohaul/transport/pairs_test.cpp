#include <gtest/gtest.h>

#include <thread>

#include "cohaul/transport/authority.h"
#include "cohaul/transport/sim_network.h"
#include "cohaul/transport/test_pairs.h"

namespace cohaul::transport {

Identity test_identity(int rank) {
  Identity who;
  who.job = 7;
  who.token = 0x1234;
  who.rank = rank;
  who.incarnation = Incarnation(static_cast<std::uint64_t>(100 + rank));
  who.purpose = "test";
  return who;
}

Identity test_identity_with_key(int rank) {
  Identity who = test_identity(rank);
  Key key;
  key.fill(std::byte{7});
  who.credentials = key;
  return who;
}

Identity test_identity_with_certificate(int rank) {
  static const Authority authority = *Authority::make("test");
  Identity who = test_identity(rank);
  who.credentials = std::make_shared<const Certificate>(*authority.issue(Role::worker, rank));
  return who;
}

std::unique_ptr<Pair> make_pair_of(const std::string& form) {
  auto pair = std::make_unique<Pair>();
  if (form.starts_with("simulated")) {
    auto network = std::make_shared<SimNetwork>(SimSettings{.seed = 1, .one_host = form == "simulated_host"});
    pair->server.poller = network->make_poller();
    pair->client.poller = network->make_poller();
    std::tie(pair->server.channel, pair->client.channel) = network->connect(test_identity(0), test_identity(1));
    EXPECT_TRUE(pair->server.poller->add(*pair->server.channel).ok());
    EXPECT_TRUE(pair->client.poller->add(*pair->client.channel).ok());
    pair->network = network;
    return pair;
  }
  Time deadline = steady_clock().now() + 10 * kSecond;
  pair->server.poller = *make_poller();
  pair->client.poller = *make_poller();
  const auto identity = form == "tls"            ? test_identity_with_key
                        : form == "certificates" ? test_identity_with_certificate
                                                 : test_identity;
  auto endpoint = *listen(*pair->server.poller, identity(0), "127.0.0.1", 0);
  Address address = endpoint->address();
  std::thread client([&] {
    auto c = connect(address, identity(1), form == "arena" ? Form::arena : Form::tcp, deadline);
    EXPECT_TRUE(c.ok()) << c.status().message();
    if (c.ok()) pair->client.channel = std::move(*c);
  });
  while (!pair->server.channel && steady_clock().now() < deadline) {
    EXPECT_TRUE(pair->server.poller->wait(deadline).ok());
    pair->server.channel = *endpoint->accept();
  }
  client.join();
  EXPECT_TRUE(pair->server.poller->add(*pair->server.channel).ok());
  EXPECT_TRUE(pair->client.poller->add(*pair->client.channel).ok());
  return pair;
}

}  // namespace cohaul::transport
