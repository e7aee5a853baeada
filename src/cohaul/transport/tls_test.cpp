// Strangers at an endpoint that has a key, and between two ends that have it: they learn nothing, change nothing, and keep no honest peer out.

#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>

#include "cohaul/transport/authority.h"
#include "cohaul/transport/endpoint.h"
#include "cohaul/transport/hello.h"
#include "cohaul/transport/socket.h"
#include "cohaul/transport/test_pairs.h"
#include "cohaul/transport/tls_stream.h"

namespace cohaul::transport {
namespace {

constexpr std::string_view kSecretWords = "what nobody else may read";

Time in(double s) { return steady_clock().now() + static_cast<Duration>(s * kSecond); }

/// An endpoint, and a thread that answers whatever it receives with the same, until its end.
class Echo {
 public:
  explicit Echo(Identity self = test_identity_with_key(0)) : endpoint_(*listen(*poller_, self, "127.0.0.1", 0)) {
    thread_ = std::thread([this] { run(); });
  }
  ~Echo() {
    stopping_ = true;
    poller_->wake();
    thread_.join();
    for (auto& c : channels_) poller_->remove(*c);
  }
  std::uint16_t port() const { return endpoint_->address().port; }
  int accepted() const { return accepted_; }

 private:
  void run() {
    while (!stopping_) {
      (void)poller_->wait(in(1)).ok();
      for (;;) {
        auto c = endpoint_->accept();
        if (!c.ok() || !*c) break;
        EXPECT_TRUE(poller_->add(**c).ok());
        channels_.push_back(std::move(*c));
        ++accepted_;
      }
      std::erase_if(channels_, [&](std::unique_ptr<Channel>& c) {
        auto f = c->receive();
        if (f.ok() && *f) (void)c->send({.kind = (*f)->kind, .body = (*f)->body}).ok();
        if (!f.ok()) poller_->remove(*c);
        return !f.ok();
      });
    }
  }
  std::unique_ptr<Poller> poller_ = *make_poller();
  std::unique_ptr<Endpoint> endpoint_;
  std::vector<std::unique_ptr<Channel>> channels_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> accepted_{0};
  std::thread thread_;
};

Address at(std::uint16_t port) { return {"", {"127.0.0.1"}, port}; }

/// Connects, says the secret words, and hears them back.
Status talk(std::uint16_t port, const Identity& self = test_identity_with_key(1), double limit_s = 10) {
  COHAUL_ASSIGN(auto channel, connect(at(port), self, Form::tcp, in(limit_s)));
  auto poller = *make_poller();
  COHAUL_TRY(poller->add(*channel));
  Status status = channel->send({.kind = 1, .body = as_bytes(kSecretWords)});
  const Time deadline = in(limit_s);
  bool heard = false;
  while (status.ok() && !heard) {
    auto f = channel->receive();
    status = f.status();
    if (f.ok() && *f) heard = true;
    else if (status.ok() && steady_clock().now() > deadline) status = peer_lost("no answer");
    else if (status.ok()) status = poller->wait(in(0.05));
  }
  poller->remove(*channel);
  return status;
}

/// Sends bytes to a port, and returns what comes back until the end or `limit_s`.
std::string answer_to(std::uint16_t port, std::string_view bytes, double limit_s = 2) {
  Descriptor socket = *tcp_connect("127.0.0.1", port);
  wait_for(socket.get(), POLLOUT, in(1));
  (void)::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  std::string out;
  char buffer[4096];
  for (const Time end = in(limit_s); wait_for(socket.get(), POLLIN, end);) {
    const ssize_t n = ::recv(socket.get(), buffer, sizeof buffer, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) break;
    if (n > 0) out.append(buffer, static_cast<std::size_t>(n));
  }
  return out;
}

/// Stands between a client and an endpoint. change: of what the client says (the bytes so far come with it).
class Between {
 public:
  using Change = std::function<void(std::string& bytes, std::size_t before)>;
  explicit Between(std::uint16_t to, Change change = {}) : change_(std::move(change)) {
    listener_ = *tcp_listen("127.0.0.1", port_);
    thread_ = std::thread([this, to] { run(to); });
  }
  ~Between() {
    stopping_ = true;
    thread_.join();
  }
  std::uint16_t port() const { return port_; }
  std::string said, answered;  // when it is over

 private:
  void run(std::uint16_t to) {
    Descriptor client;
    while (!stopping_ && !client.valid()) {
      int error = 0;
      if (wait_for(listener_.get(), POLLIN, in(0.02))) client = accept_from(listener_.get(), error);
    }
    if (!client.valid()) return;
    Descriptor server = *tcp_connect("127.0.0.1", to);
    wait_for(server.get(), POLLOUT, in(1));
    while (!stopping_) {
      pollfd both[] = {{client.get(), POLLIN, 0}, {server.get(), POLLIN, 0}};
      ::poll(both, 2, 20);
      if (!pass(client.get(), server.get(), said, change_) || !pass(server.get(), client.get(), answered, {})) return;
    }
  }
  static bool pass(int from, int to, std::string& all, const Change& change) {
    char buffer[16384];
    const ssize_t n = ::recv(from, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN)) return false;
    if (n < 0) return true;
    std::string bytes(buffer, static_cast<std::size_t>(n));
    if (change) change(bytes, all.size());
    all += bytes;
    return ::send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  }
  Change change_;
  Descriptor listener_;
  std::uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

/// A TLS alert (RFC 8446, 6), or nothing.
bool tells_nothing(const std::string& answer) { return answer.empty() || (answer.size() == 7 && answer[0] == 21); }

TEST(Tls, TheWireShowsNothing) {
  Echo echo;
  Between between(echo.port());
  const Status talked = talk(between.port());
  EXPECT_TRUE(talked.ok()) << talked.message();
  for (const std::string* bytes : {&between.said, &between.answered}) {
    EXPECT_GT(bytes->size(), kSecretWords.size());
    EXPECT_EQ(bytes->find(kSecretWords), std::string::npos);
    EXPECT_EQ(bytes->find("test"), std::string::npos);  // the purpose in the hello
  }
}

/// Two ends, whose bytes this thread carries.
struct Carried {
  Carried() {
    int a[2], b[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, a), 0);
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, b), 0);
    from = Descriptor(a[1]);
    to = Descriptor(b[1]);
    const Credentials key = test_identity_with_key(0).credentials;
    client = *make_tls_stream(Descriptor(a[0]), key, Side::connecting);
    server = *make_tls_stream(Descriptor(b[0]), key, Side::accepting);
  }
  /// Returns how many went from the client to the server.
  std::size_t carry() {
    (void)pass(to.get(), from.get());
    return pass(from.get(), to.get());
  }
  static std::size_t pass(int from, int to) {
    char buffer[4096];
    const ssize_t n = ::recv(from, buffer, sizeof buffer, 0);
    if (n <= 0) return 0;
    EXPECT_EQ(::send(to, buffer, static_cast<std::size_t>(n), MSG_NOSIGNAL), n);
    return static_cast<std::size_t>(n);
  }
  Descriptor from, to;
  std::unique_ptr<Stream> client, server;
};

TEST(Tls, TheKeyChangesAfterSoManyRecords) {
  Carried carried;
  for (bool a = false, b = false; !a || !b; carried.carry())
    a = carried.client->handshake().value(), b = carried.server->handshake().value();
  while (carried.carry() > 0) {
  }
  constexpr std::size_t kHeader = 5, kTypeAndTag = 17, kKeyUpdate = 5;  // RFC 8446, 5.2 and 4.6.3
  const std::size_t of_byte = kHeader + 1 + kTypeAndTag, of_update = kHeader + kKeyUpdate + kTypeAndTag;
  std::size_t updates = 0;
  for (int i = 0; i < 2 * kRecordsOfKey + 10; ++i) {
    std::byte sent{static_cast<unsigned char>(i)}, got{};
    const iovec part{&sent, 1};
    ASSERT_EQ(carried.client->write({&part, 1}), 1);
    std::size_t bytes = 0;
    for (std::size_t n; (n = carried.carry()) > 0;) bytes += n;
    updates += bytes == of_byte + of_update ? 1 : 0;
    ASSERT_TRUE(bytes == of_byte || bytes == of_byte + of_update) << bytes;
    ASSERT_EQ(carried.server->read({&got, 1}), 1);
    ASSERT_EQ(got, sent);
  }
  EXPECT_EQ(updates, 2u);
}

TEST(Tls, WithoutTheSecretNobodyIsLetIn) {
  Echo echo;
  Identity wrong = test_identity_with_key(1);
  std::get<Key>(wrong.credentials).back() = std::byte{8};
  const Status other = talk(echo.port(), wrong);
  EXPECT_EQ(other.code(), Code::invalid);
  EXPECT_NE(other.message().find("do not share the job's secret"), std::string::npos) << other.message();
  EXPECT_FALSE(talk(echo.port(), test_identity(1), 2).ok());  // plain text
  EXPECT_EQ(echo.accepted(), 0);
  EXPECT_TRUE(talk(echo.port()).ok());
}

TEST(Tls, AStrangerGetsAnAlertAndNoMore) {
  Echo echo;
  Between between(echo.port());
  ASSERT_TRUE(talk(between.port()).ok());
  const std::string real = between.said;  // a whole conversation, to be replayed
  const std::vector<std::byte> hello = encode_hello(test_identity(1), FrameType::hello, 0);
  EXPECT_TRUE(tells_nothing(answer_to(echo.port(), {reinterpret_cast<const char*>(hello.data()), hello.size()})));
  EXPECT_TRUE(tells_nothing(answer_to(echo.port(), "GET / HTTP/1.1\r\n\r\n")));
  EXPECT_TRUE(tells_nothing(answer_to(echo.port(), std::string(100'000, '\0'))));
  EXPECT_TRUE(tells_nothing(answer_to(echo.port(), std::string(100'000, '\x16'))));
  // A replay hears the answer to its ClientHello, which the ephemeral exchange makes useless, and is thrown out.
  (void)answer_to(echo.port(), real);
  EXPECT_EQ(echo.accepted(), 1);
  EXPECT_TRUE(talk(echo.port()).ok());
}

TEST(Tls, ATruncatedHandshakeKeepsNobodyOut) {
  Echo echo;
  Between between(echo.port());
  ASSERT_TRUE(talk(between.port()).ok());
  for (std::size_t n = 0; n < between.said.size(); n += 13)
    (void)answer_to(echo.port(), std::string_view(between.said).substr(0, n), 0.002);
  std::vector<Descriptor> silent;
  for (int i = 0; i < 200; ++i) silent.push_back(*tcp_connect("127.0.0.1", echo.port()));
  EXPECT_TRUE(talk(echo.port()).ok());
}

/// Every byte that the client sends, flipped one at a time: the connection fails, or (a byte behind the words) was whole already.
TEST(Tls, AFlippedByteIsSeen) {
  Echo echo;
  std::size_t length = 0;
  {
    Between between(echo.port());
    ASSERT_TRUE(talk(between.port()).ok());
    length = between.said.size();
  }
  for (std::size_t k = 0; k + 30 < length; k += 17) {
    Between between(echo.port(), [k](std::string& bytes, std::size_t before) {
      if (k >= before && k < before + bytes.size()) bytes[k - before] = static_cast<char>(bytes[k - before] ^ 1);
    });
    EXPECT_FALSE(talk(between.port(), test_identity_with_key(1), 0.5).ok()) << "byte " << k << " of " << length;
  }
  EXPECT_TRUE(talk(echo.port()).ok());
}

/// Its own words, sent back by one between (RFC 9257, 4.1).
TEST(Tls, AReflectionIsNoPeer) {
  Echo echo(test_identity_with_key(1));
  const Status mirrored = talk(echo.port(), test_identity_with_key(1));
  EXPECT_NE(mirrored.message().find("its own words"), std::string::npos) << mirrored.message();
}

/// A stranger that listens in the job's place, with a certificate of its own or an older TLS, hears no hello.
TEST(Tls, ACertificateIsNoSecret) {
  ::signal(SIGPIPE, SIG_IGN);  // the stranger's OpenSSL writes to a connection that is closed
  for (const int version : {TLS1_3_VERSION, TLS1_2_VERSION}) {
    std::uint16_t port = 0;
    Descriptor listener = *tcp_listen("127.0.0.1", port);
    std::string heard;
    std::thread stranger([&] {
      int error = 0;
      wait_for(listener.get(), POLLIN, in(5));
      Descriptor socket = accept_from(listener.get(), error);
      SSL_CTX* const context = SSL_CTX_new(TLS_server_method());
      SSL_CTX_set_max_proto_version(context, version);
      EVP_PKEY* const key = EVP_EC_gen("P-256");
      X509* const certificate = X509_new();
      X509_set_version(certificate, 2);
      ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
      X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
      X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
      X509_set_pubkey(certificate, key);
      X509_sign(certificate, key, EVP_sha256());
      SSL_CTX_use_certificate(context, certificate);
      SSL_CTX_use_PrivateKey(context, key);
      SSL* const ssl = SSL_new(context);
      SSL_set_fd(ssl, socket.get());
      char buffer[256];
      for (const Time end = in(2); steady_clock().now() < end;) {
        const int n = SSL_is_init_finished(ssl) != 0 ? SSL_read(ssl, buffer, sizeof buffer) : SSL_accept(ssl);
        if (n > 0 && SSL_is_init_finished(ssl) != 0 && n > 1) heard.append(buffer, static_cast<std::size_t>(n));
        const int why = SSL_get_error(ssl, n);
        if (n <= 0 && why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) break;
        if (n <= 0) wait_for(socket.get(), POLLIN, in(0.02));
      }
      SSL_free(ssl);
      SSL_CTX_free(context);
      X509_free(certificate);
      EVP_PKEY_free(key);
    });
    EXPECT_FALSE(talk(port, test_identity_with_key(1), 3).ok());
    stranger.join();
    EXPECT_EQ(heard, "");
  }
}

// ---- floods: each must be cut off, and keep no honest peer out meanwhile

/// A client of OpenSSL's own, which may say what Cohaul never does.
class Foreigner {
 public:
  /// Shakes hands with a port: with the key of `self`, or as one that knows none.
  Foreigner(std::uint16_t port, const Identity& self) : self_(self), socket_(*tcp_connect("127.0.0.1", port)) {
    wait_for(socket_.get(), POLLOUT, in(1));
    context_ = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_ciphersuites(context_, "TLS_AES_128_GCM_SHA256");
    SSL_CTX_set_psk_use_session_callback(context_, use_key);
    ssl_ = SSL_new(context_);
    SSL_set_app_data(ssl_, this);
    SSL_set0_rbio(ssl_, BIO_new(BIO_s_mem()));
    SSL_set0_wbio(ssl_, BIO_new(BIO_s_mem()));
    for (const Time end = in(5); SSL_connect(ssl_) != 1 && steady_clock().now() < end;) {
      if (!send() || !hear()) return;
    }
    send();
  }
  ~Foreigner() {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
  }
  /// SSL_write, SSL_key_update and the like; then what they have to say is sent. false: the connection is closed.
  bool say(ConstBytes bytes) { return SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())) > 0 && send(); }
  bool change_key(int times) {
    for (int i = 0; i < times; ++i)
      if (SSL_key_update(ssl_, SSL_KEY_UPDATE_REQUESTED) != 1 || SSL_do_handshake(ssl_) != 1) return false;
    return send();
  }

 private:
  static int use_key(SSL* ssl, const EVP_MD*, const unsigned char** name, std::size_t* length, SSL_SESSION** session) {
    const Key* const key = std::get_if<Key>(&static_cast<Foreigner*>(SSL_get_app_data(ssl))->self_.credentials);
    *session = nullptr;
    *length = 0;
    if (key == nullptr) return 1;
    constexpr unsigned char kCipher[] = {0x13, 0x01};
    *session = SSL_SESSION_new();
    SSL_SESSION_set1_master_key(*session, reinterpret_cast<const unsigned char*>(key->data()), key->size());
    SSL_SESSION_set_cipher(*session, SSL_CIPHER_find(ssl, kCipher));
    SSL_SESSION_set_protocol_version(*session, TLS1_3_VERSION);
    *name = reinterpret_cast<const unsigned char*>("cohaul");
    *length = 6;
    return 1;
  }
  /// All of it, while answers are thrown away so that the other end can go on.
  bool send() {
    char buffer[16384];
    for (int n; (n = BIO_read(SSL_get_wbio(ssl_), buffer, sizeof buffer)) > 0;) {
      for (int sent = 0; sent < n;) {
        const ssize_t k = ::send(socket_.get(), buffer + sent, static_cast<std::size_t>(n - sent), MSG_NOSIGNAL);
        if (k < 0 && errno != EAGAIN) return false;
        if (k > 0) sent += static_cast<int>(k);
        else wait_for(socket_.get(), POLLOUT, in(0.01));
        if (SSL_is_init_finished(ssl_) != 0 && !throw_away()) return false;
      }
    }
    return true;
  }
  bool throw_away() {
    char buffer[16384];
    ssize_t n = 0;
    while ((n = ::recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT)) > 0) {
    }
    return n < 0 && errno == EAGAIN;
  }
  bool hear() {
    char buffer[16384];
    wait_for(socket_.get(), POLLIN, in(1));
    const ssize_t n = ::recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    return n > 0 && BIO_write(SSL_get_rbio(ssl_), buffer, static_cast<int>(n)) == n;
  }
  Identity self_;
  Descriptor socket_;
  SSL_CTX* context_ = nullptr;
  SSL* ssl_ = nullptr;
};

/// Changes of the key without end, before a hello or after it, while others talk.
void flood_with_keys(const std::function<void(Foreigner&)>& first) {
  Echo echo;
  Foreigner foreigner(echo.port(), test_identity_with_key(1));
  first(foreigner);
  std::atomic<bool> cut_off{false};
  std::thread flood([&] {
    for (const Time end = in(60); !cut_off && steady_clock().now() < end;) cut_off = !foreigner.change_key(500);
  });
  const Status talked = talk(echo.port(), test_identity_with_key(2), 5);
  flood.join();
  EXPECT_TRUE(cut_off);
  EXPECT_TRUE(talked.ok()) << talked.message();
  EXPECT_TRUE(talk(echo.port()).ok());
}

TEST(Floods, OfKeysBeforeTheHello) {
  flood_with_keys([](Foreigner&) {});
}

TEST(Floods, OfKeysFromAPeer) {
  flood_with_keys([](Foreigner& foreigner) {
    const std::vector<std::byte> hello = encode_hello(test_identity(1), FrameType::hello, 0);
    EXPECT_TRUE(foreigner.say(hello));
    EXPECT_TRUE(foreigner.change_key(1));
  });
}

/// A client without the secret can say these only in the clear, as a first word or in the middle of a handshake.
TEST(Floods, OfAStranger) {
  Echo echo;
  Between between(echo.port());
  ASSERT_TRUE(talk(between.port()).ok());
  const std::size_t first =
      5 + static_cast<unsigned char>(between.said[3]) * 256u + static_cast<unsigned char>(between.said[4]);
  const std::string greeting = between.said.substr(0, first);
  const std::string key_update("\x16\x03\x03\x00\x05\x18\x00\x00\x01\x01", 10), nothing("\x14\x03\x03\x00\x01\x01", 6),
      empty("\x16\x03\x03\x00\x00", 5);
  for (const std::string& record : {key_update, nothing, empty}) {
    std::string flood;
    for (int i = 0; i < 20'000; ++i) flood += record;
    EXPECT_TRUE(tells_nothing(answer_to(echo.port(), flood)));
    const std::string answer = answer_to(echo.port(), greeting + flood, 5);
    EXPECT_FALSE(answer.empty());  // to the ClientHello
    EXPECT_TRUE(talk(echo.port()).ok());
  }
  EXPECT_EQ(echo.accepted(), 4);
}

// ---- certificates

using Change = std::function<void(Certificate&)>;

Identity with(const Identity& who, const Change& change) {
  Certificate c = *std::get<std::shared_ptr<const Certificate>>(who.credentials);
  change(c);
  Identity out = who;
  out.credentials = std::make_shared<const Certificate>(std::move(c));
  return out;
}

Identity as(Identity who, Role role, int rank) {
  who.role = role;
  who.rank = rank;
  return who;
}

const Identity kZero = test_identity_with_certificate(0), kOne = test_identity_with_certificate(1);

TEST(Certificates, AProcessSpeaksForItselfAlone) {
  Echo echo(kZero);
  EXPECT_TRUE(talk(echo.port(), kOne).ok());
  const Status other = talk(echo.port(), as(kOne, Role::worker, 2));
  EXPECT_EQ(other.code(), Code::invalid);
  EXPECT_NE(other.message().find("with the certificate of cohaul:test/worker/1 says that it is cohaul:test/worker/2"),
            std::string::npos)
      << other.message();
  EXPECT_FALSE(talk(echo.port(), as(kOne, Role::server, 1)).ok());
  EXPECT_FALSE(talk(echo.port(), as(kOne, Role::launcher, 0)).ok());
  EXPECT_EQ(echo.accepted(), 1);
  // Nor is it taken for another where it listens.
  Echo impostor(as(kOne, Role::worker, 0));
  const Status there = talk(impostor.port(), test_identity_with_certificate(2));
  EXPECT_NE(there.message().find("says that it is cohaul:test/worker/0"), std::string::npos) << there.message();
}

TEST(Certificates, AWorkersThreadsSpeakForItsServersAndTheRendezvous) {
  const Identity zero = with(kZero, [](Certificate& c) { c.threads_of = 2; });
  Echo echo(zero);
  EXPECT_TRUE(talk(echo.port(), as(kOne, Role::server, 3)).ok());
  EXPECT_FALSE(talk(echo.port(), as(kOne, Role::server, 2)).ok());
  EXPECT_FALSE(talk(echo.port(), as(kOne, Role::launcher, 0)).ok());
  Echo host(as(kZero, Role::launcher, 0));
  EXPECT_TRUE(talk(host.port(), with(kOne, [](Certificate& c) { c.worker_0_hosts = true; })).ok());
  EXPECT_FALSE(talk(host.port(), kOne).ok());
}

TEST(Certificates, OnlyThoseOfTheJobsAuthorityCount) {
  Echo echo(kZero);
  const Authority stranger = *Authority::make("test");
  const Certificate theirs = *stranger.issue(Role::worker, 1);
  const auto refuses = [&](const Change& change) {
    const Status s = talk(echo.port(), with(kOne, change), 5);
    EXPECT_EQ(s.code(), Code::invalid) << s.message();
    return std::string(s.message());
  };
  // Certificates of another authority, which is trusted here or is not.
  EXPECT_NE(refuses([&](Certificate& c) { c = theirs; }).find("no certificate of this job"), std::string::npos);
  refuses([&](Certificate& c) {
    c.chain = theirs.chain;
    c.key = theirs.key;
  });
  // Of the same authority, where another job is expected.
  Echo of_another_job(with(kZero, [](Certificate& c) { c.job = "other"; }));
  EXPECT_FALSE(talk(of_another_job.port(), kOne, 5).ok());
  EXPECT_EQ(of_another_job.accepted(), 0);
  EXPECT_FALSE(talk(echo.port(), test_identity_with_key(1), 5).ok());
  EXPECT_FALSE(talk(echo.port(), test_identity(1), 2).ok());
  EXPECT_EQ(echo.accepted(), 0);
  EXPECT_TRUE(talk(echo.port(), kOne).ok());
  // A process that connects does not take a stranger's certificate for the job's, either.
  Echo other(with(kZero, [&](Certificate& c) { c = *stranger.issue(Role::worker, 0); }));
  EXPECT_EQ(talk(other.port(), kOne, 5).code(), Code::invalid);
  Echo knows_a_secret;
  EXPECT_FALSE(talk(knows_a_secret.port(), kOne, 5).ok());
}

TEST(Certificates, WhatCannotBeReadIsNamed) {
  const auto refusal = [](const Change& change) {
    std::uint16_t port = 0;
    const Descriptor listener = *tcp_listen("127.0.0.1", port);
    return std::string(talk(port, with(kOne, change), 2).message());
  };
  EXPECT_NE(refusal([](Certificate& c) { c.chain = "nonsense"; }).find("this process's certificate cannot be read"),
            std::string::npos);
  EXPECT_NE(refusal([](Certificate& c) { c.key = ""; }).find("the key of this process's certificate cannot be read"),
            std::string::npos);
  EXPECT_NE(refusal([](Certificate& c) { c.authority = ""; }).find("the authority's certificate cannot be read"),
            std::string::npos);
  const std::string other = std::get<std::shared_ptr<const Certificate>>(kZero.credentials)->key;
  EXPECT_NE(refusal([&](Certificate& c) { c.key = other; }).find("the key is not that of this process's certificate"),
            std::string::npos);
}

}  // namespace
}  // namespace cohaul::transport
