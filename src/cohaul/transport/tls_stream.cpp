#include "cohaul/transport/tls_stream.h"

#include <openssl/pem.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "cohaul/transport/authority.h"
#include "cohaul/transport/openssl.h"

namespace cohaul::transport {
namespace {

constexpr std::size_t kRecordBytes = 16 << 10;  // the most that one record holds
constexpr std::size_t kReadBytes = 256 << 10;
constexpr std::size_t kHeldBytes = 256 << 10;
constexpr std::size_t kRecordMost = kRecordBytes + 256;  // with what TLS adds
// How many bytes may come without data among them. An honest peer's data come earlier: a record that begins in one
// read of the socket ends in the next. OpenSSL itself does not limit changes of the key.
constexpr std::size_t kBytesWithoutData = 2 * kReadBytes;
constexpr const char* kCipher = "TLS_AES_128_GCM_SHA256";
constexpr unsigned char kCipherId[] = {0x13, 0x01};
constexpr std::string_view kKeyName = "cohaul";  // goes in the clear

using Context = Openssl<SSL_CTX, &SSL_CTX_free>;
using Connection = Openssl<SSL, &SSL_free>;

// ---- the socket, as OpenSSL sees it: its own would raise SIGPIPE

struct Wire {
  int fd = -1;
  std::size_t without_data = 0;    // bytes read since the last that were data
  std::vector<std::byte> ahead{};  // read, and not yet taken by OpenSSL: several records come in one call
  std::size_t ahead_begin = 0, ahead_end = 0;
  std::vector<std::byte> held{};  // encrypted, and not sent: several records go in one call
  std::size_t sent = 0;           // of what is held
  bool gathers = false;
  bool holds() const { return sent < held.size(); }

  /// Returns bytes, 0 at the end of the stream, or −1 with errno. It reads ahead itself, because OpenSSL moves the rest of its own buffer to the
  /// front for every record.
  ssize_t read(void* into, std::size_t size) {
    if (ahead_begin == ahead_end) {
      ahead.resize(kReadBytes);
      const ssize_t n = ::recv(fd, ahead.data(), ahead.size(), MSG_DONTWAIT);
      if (n <= 0) return n;
      ahead_begin = 0;
      ahead_end = static_cast<std::size_t>(n);
      without_data += ahead_end;
    }
    const std::size_t bytes = std::min(size, ahead_end - ahead_begin);
    std::memcpy(into, ahead.data() + ahead_begin, bytes);
    ahead_begin += bytes;
    return static_cast<ssize_t>(bytes);
  }
  /// Sends what is held. Returns 0 when all is sent; else −errno.
  ssize_t flush() {
    while (holds()) {
      const ssize_t n = ::send(fd, held.data() + sent, held.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return -errno;
      sent += static_cast<std::size_t>(n);
    }
    held.clear();
    sent = 0;
    return 0;
  }
};

Wire& wire_of(BIO* bio) { return *static_cast<Wire*>(BIO_get_data(bio)); }

int transferred(BIO* bio, ssize_t n, int retry) {
  BIO_clear_retry_flags(bio);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
  return static_cast<int>(n);
}

int bio_write(BIO* bio, const char* data, int size) {
  Wire& wire = wire_of(bio);
  const auto bytes = static_cast<std::size_t>(size);
  if (!wire.gathers && !wire.holds())
    return transferred(bio, ::send(wire.fd, data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT), BIO_FLAGS_WRITE);
  if (wire.held.size() + bytes > kHeldBytes) {
    if (const ssize_t error = wire.flush(); error < 0) {
      errno = static_cast<int>(-error);
      return transferred(bio, -1, BIO_FLAGS_WRITE);
    }
  }
  const auto* const from = reinterpret_cast<const std::byte*>(data);
  wire.held.insert(wire.held.end(), from, from + bytes);
  return transferred(bio, size, BIO_FLAGS_WRITE);
}

int bio_read(BIO* bio, char* data, int size) {
  Wire& wire = wire_of(bio);
  if (wire.without_data > kBytesWithoutData) {
    errno = EPROTO;
    return transferred(bio, -1, BIO_FLAGS_READ);
  }
  return transferred(bio, wire.read(data, static_cast<std::size_t>(size)), BIO_FLAGS_READ);
}

long bio_control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

const BIO_METHOD* socket_method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* const m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "cohaul socket");
    BIO_meth_set_write(m, bio_write);
    BIO_meth_set_read(m, bio_read);
    BIO_meth_set_ctrl(m, bio_control);
    BIO_meth_set_create(m, [](BIO* bio) {
      BIO_set_init(bio, 1);
      return 1;
    });
    return m;
  }();
  return method;
}

// ---- the key

const Key& key_of(SSL* ssl) { return std::get<Key>(*static_cast<const Credentials*>(SSL_get_app_data(ssl))); }

/// Returns the session that TLS 1.3 needs for an external key.
SSL_SESSION* session_of(SSL* ssl) {
  const Key& key = key_of(ssl);
  SSL_SESSION* const session = SSL_SESSION_new();
  const SSL_CIPHER* const cipher = SSL_CIPHER_find(ssl, kCipherId);
  if (session != nullptr && cipher != nullptr &&
      SSL_SESSION_set1_master_key(session, reinterpret_cast<const unsigned char*>(key.data()), key.size()) == 1 &&
      SSL_SESSION_set_cipher(session, cipher) == 1 && SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1)
    return session;
  SSL_SESSION_free(session);
  return nullptr;
}

int use_key(SSL* ssl, const EVP_MD* digest, const unsigned char** name, std::size_t* name_length,
            SSL_SESSION** session) {
  *session = digest == nullptr || EVP_MD_is_a(digest, "SHA256") == 1 ? session_of(ssl) : nullptr;
  *name = reinterpret_cast<const unsigned char*>(kKeyName.data());
  *name_length = *session == nullptr ? 0 : kKeyName.size();
  return 1;
}

int find_key(SSL* ssl, const unsigned char* name, std::size_t length, SSL_SESSION** session) {
  const bool ours = std::string_view(reinterpret_cast<const char*>(name), length) == kKeyName;
  *session = ours ? session_of(ssl) : nullptr;
  return 1;
}

// ---- the certificate

Status unreadable(const char* what) { return invalid(std::string(what) + " cannot be read: " + openssl_reason()); }

Status use_certificate(SSL_CTX* context, const Certificate& c) {
  const Bio chain = bio_of(c.chain), key = bio_of(c.key), authority = bio_of(c.authority);
  const X509Certificate own(PEM_read_bio_X509(chain.get(), nullptr, nullptr, nullptr));
  if (!own || SSL_CTX_use_certificate(context, own.get()) != 1) return unreadable("this process's certificate");
  while (X509* const next = PEM_read_bio_X509(chain.get(), nullptr, nullptr, nullptr))
    if (SSL_CTX_add_extra_chain_cert(context, next) != 1) X509_free(next);
  const auto no_password = [](char*, int, int, void*) { return -1; };
  const PrivateKey own_key(PEM_read_bio_PrivateKey(key.get(), nullptr, no_password, nullptr));
  if (!own_key) return unreadable("the key of this process's certificate");
  if (SSL_CTX_use_PrivateKey(context, own_key.get()) != 1)
    return invalid("the key is not that of this process's certificate (" + openssl_reason() + ")");
  X509_STORE* const trusted = SSL_CTX_get_cert_store(context);
  int authorities = 0;
  for (;; ++authorities) {
    const X509Certificate a(PEM_read_bio_X509(authority.get(), nullptr, nullptr, nullptr));
    if (!a) break;
    if (X509_STORE_add_cert(trusted, a.get()) != 1) return unreadable("the authority's certificate");
  }
  if (authorities == 0) return unreadable("the authority's certificate");
  ERR_clear_error();  // the end of the text is a failure to OpenSSL
  if (!c.expires) X509_STORE_set_flags(trusted, X509_V_FLAG_NO_CHECK_TIME);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  return {};
}

/// The URIs among the alternative names of the other end's certificate.
std::vector<std::string> names_of_peer(const SSL* ssl) {
  std::vector<std::string> out;
  X509* const certificate = SSL_get0_peer_certificate(ssl);
  if (certificate == nullptr) return out;
  const Openssl<GENERAL_NAMES, &GENERAL_NAMES_free> names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    int type = 0;
    const auto* const text =
        static_cast<const ASN1_STRING*>(GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), i), &type));
    if (type == GEN_URI)
      out.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                       static_cast<std::size_t>(ASN1_STRING_length(text)));
  }
  return out;
}

class TlsStream final : public Stream {
 public:
  TlsStream(Descriptor socket, const Credentials& credentials)
      : socket_(std::move(socket)), credentials_(credentials) {}
  ~TlsStream() override {
    if (Key* const key = std::get_if<Key>(&credentials_)) OPENSSL_cleanse(key->data(), key->size());
  }

  Status open(Side side) {
    context_.reset(SSL_CTX_new(TLS_method()));
    SSL_CTX* const context = context_.get();
    if (context == nullptr || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(context, kCipher) != 1 || SSL_CTX_set_num_tickets(context, 0) != 1)
      return internal("TLS could not be set up: " + openssl_reason());
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (const Certificate* const own = certificate()) {
      COHAUL_TRY(use_certificate(context, *own));
    } else {
      SSL_CTX_set_psk_use_session_callback(context, use_key);
      SSL_CTX_set_psk_find_session_callback(context, find_key);
    }
    ssl_.reset(SSL_new(context));
    BIO* const bio = ssl_ ? BIO_new(socket_method()) : nullptr;
    if (bio == nullptr) return internal("TLS could not be set up: " + openssl_reason());
    wire_.fd = socket_.get();
    BIO_set_data(bio, &wire_);
    SSL_set_bio(ssl_.get(), bio, bio);
    SSL_set_app_data(ssl_.get(), &credentials_);
    if (side == Side::connecting) SSL_set_connect_state(ssl_.get());
    else SSL_set_accept_state(ssl_.get());
    return {};
  }

  int fd() const override { return socket_.get(); }
  short wants() const override { return SSL_want_write(ssl_.get()) ? POLLOUT : POLLIN; }

  Result<bool> handshake() override {
    forget_errors();
    const int done = SSL_do_handshake(ssl_.get());
    if (done == 1) return met();
    const int error = SSL_get_error(ssl_.get(), done);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return false;
    if (error == SSL_ERROR_SYSCALL || error == SSL_ERROR_ZERO_RETURN)
      return peer_lost("connection closed during the TLS handshake");
    if (certificate() != nullptr) return without_certificate();
    return invalid(
        "the two processes do not share the job's secret, or are of different jobs (TLS: " + openssl_reason() + ")");
  }

  Status may_speak_as(const Identity& who) const override {
    const Certificate* const own = certificate();
    if (own == nullptr) return {};
    const auto is_named = [&](Role role, int rank) {
      return std::find(names_.begin(), names_.end(), certified_name(own->job, role, rank)) != names_.end();
    };
    if (is_named(who.role, who.rank)) return {};
    if (who.role == Role::server && own->threads_of > 0 && is_named(Role::worker, who.rank % own->threads_of))
      return {};
    if (who.role == Role::launcher && own->worker_0_hosts && is_named(Role::worker, 0)) return {};
    return invalid("a process with the certificate of " + (names_.empty() ? "nobody" : names_.front()) +
                   " says that it is " + certified_name(own->job, who.role, who.rank));
  }

  ssize_t write(std::span<const iovec> parts) override {
    if (const ssize_t error = flush(); error < 0) return error;
    ssize_t total = 0, n = 1;
    std::size_t part = 0, done = 0;  // of that part
    wire_.gathers = true;
    while (n > 0 && part < parts.size() && wire_.held.size() + kRecordMost <= kHeldBytes) {
      n = write_record(parts.subspan(part), done);
      if (n < 0) break;
      total += n;
      done += static_cast<std::size_t>(n);
      while (part < parts.size() && done >= parts[part].iov_len) done -= parts[part++].iov_len;
    }
    wire_.gathers = false;
    const ssize_t error = wire_.flush();
    if (error < 0 && error != -EAGAIN) return error;
    return total > 0 ? total : n;
  }
  ssize_t flush() override { return wire_.flush(); }
  bool holds() const override { return wire_.holds(); }

  ssize_t read(Bytes into) override {
    forget_errors();
    const ssize_t n = result(SSL_read(ssl_.get(), into.data(), static_cast<int>(std::min(into.size(), kWriteMax))));
    if (n > 0) wire_.without_data = 0;
    return n;
  }
  bool verifies() const override { return true; }
  bool short_means_blocked() const override { return false; }

 private:
  /// Writes one record of what follows the first `done` bytes. Small parts share it; a large one is taken as it lies.
  ssize_t write_record(std::span<const iovec> parts, std::size_t done) {
    forget_errors();
    // A key of AES-GCM is good for some 24 million records (RFC 8446, 5.5). The other end need not answer.
    if (records_ >= kRecordsOfKey && SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED) == 1) records_ = 0;
    const auto* from = static_cast<const std::byte*>(parts.front().iov_base) + done;
    std::size_t bytes = std::min(parts.front().iov_len - done, kRecordBytes);
    if (bytes < kRecordBytes && parts.size() > 1) {
      gathered_.assign(from, from + bytes);
      for (const iovec& part : parts.subspan(1)) {
        const auto* const next = static_cast<const std::byte*>(part.iov_base);
        gathered_.insert(gathered_.end(), next, next + std::min(part.iov_len, kRecordBytes - gathered_.size()));
        if (gathered_.size() == kRecordBytes) break;
      }
      from = gathered_.data();
      bytes = gathered_.size();
    }
    const int n = SSL_write(ssl_.get(), from, static_cast<int>(bytes));
    if (n > 0) ++records_;
    return result(n);
  }

  const Certificate* certificate() const {
    const auto* const own = std::get_if<std::shared_ptr<const Certificate>>(&credentials_);
    return own == nullptr ? nullptr : own->get();
  }

  /// Checks, after the handshake, that it was made by the key or the certificates that this end has, and nothing
  /// else.
  Result<bool> met() {
    if (certificate() == nullptr) {
      if (SSL_session_reused(ssl_.get()) == 1) return true;
      return invalid("the TLS connection was not made by the job's secret");
    }
    names_ = names_of_peer(ssl_.get());
    if (SSL_get_verify_result(ssl_.get()) == X509_V_OK && SSL_get0_peer_certificate(ssl_.get()) != nullptr) return true;
    return without_certificate();
  }

  Status without_certificate() const {
    const long verified = SSL_get_verify_result(ssl_.get());
    return invalid("the other end has no certificate of this job, or does not take this process's (TLS: " +
                   (verified == X509_V_OK ? openssl_reason() : X509_verify_cert_error_string(verified)) + ")");
  }

  static constexpr std::size_t kWriteMax = 1 << 30;

  /// Clears the thread's last failures, from which OpenSSL's results are read.
  static void forget_errors() {
    ERR_clear_error();
    errno = 0;
  }

  ssize_t result(int n) {
    if (n > 0) return n;
    const int error = SSL_get_error(ssl_.get(), n);
    const int cause = errno;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return -EAGAIN;
    if (error == SSL_ERROR_ZERO_RETURN) return 0;
    if (error == SSL_ERROR_SYSCALL) return -cause;  // 0: the other end has closed the connection
    return -EPROTO;                                 // a record that does not verify, or an end without TLS's own
  }

  Descriptor socket_;
  Wire wire_;
  Credentials credentials_;
  std::vector<std::string> names_;  // in the other end's certificate
  Context context_;
  Connection ssl_;  // before socket and credentials go
  std::vector<std::byte> gathered_;
  int records_ = 0;  // written with the present key
};

}  // namespace

Result<std::unique_ptr<Stream>> make_tls_stream(Descriptor socket, const Credentials& credentials, Side side) {
  auto stream = std::make_unique<TlsStream>(std::move(socket), credentials);
  COHAUL_TRY(stream->open(side));
  return std::unique_ptr<Stream>(std::move(stream));
}

}  // namespace cohaul::transport
