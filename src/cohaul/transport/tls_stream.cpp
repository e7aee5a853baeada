#include "cohaul/transport/tls_stream.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

namespace cohaul::transport {
namespace {

constexpr std::size_t kRecordBytes = 16 << 10;  // the most that one record holds
constexpr std::size_t kReadBytes = 256 << 10;
constexpr const char* kCipher = "TLS_AES_128_GCM_SHA256";
constexpr unsigned char kCipherId[] = {0x13, 0x01};
constexpr std::string_view kKeyName = "cohaul";  // goes in the clear

template <auto free>
struct Free {
  template <class T>
  void operator()(T* p) const {
    free(p);
  }
};
using Context = std::unique_ptr<SSL_CTX, Free<&SSL_CTX_free>>;
using Connection = std::unique_ptr<SSL, Free<&SSL_free>>;

/// What OpenSSL says of its last failure.
std::string reason() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  const char* const text = code == 0 ? nullptr : ERR_reason_error_string(code);
  return text == nullptr ? "unknown" : text;
}

// ---- the socket, as OpenSSL sees it: its own would raise SIGPIPE

int fd_of(BIO* bio) { return static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio))); }

int transferred(BIO* bio, ssize_t n, int retry) {
  BIO_clear_retry_flags(bio);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
  return static_cast<int>(n);
}

int bio_write(BIO* bio, const char* data, int size) {
  return transferred(bio, ::send(fd_of(bio), data, static_cast<std::size_t>(size), MSG_NOSIGNAL | MSG_DONTWAIT),
                     BIO_FLAGS_WRITE);
}

int bio_read(BIO* bio, char* data, int size) {
  return transferred(bio, ::recv(fd_of(bio), data, static_cast<std::size_t>(size), MSG_DONTWAIT), BIO_FLAGS_READ);
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

const Key& key_of(SSL* ssl) { return *static_cast<const Key*>(SSL_get_app_data(ssl)); }

/// A session of the key, as TLS 1.3 wants an external one.
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

class TlsStream final : public Stream {
 public:
  explicit TlsStream(Descriptor socket, const Key& key) : socket_(std::move(socket)), key_(key) {}
  ~TlsStream() override { OPENSSL_cleanse(key_.data(), key_.size()); }

  Status open(Side side) {
    context_.reset(SSL_CTX_new(TLS_method()));
    SSL_CTX* const context = context_.get();
    if (context == nullptr || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(context, kCipher) != 1 || SSL_CTX_set_num_tickets(context, 0) != 1)
      return internal("TLS could not be set up: " + reason());
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    SSL_CTX_set_read_ahead(context, 1);  // several records a call
    SSL_CTX_set_default_read_buffer_len(context, kReadBytes);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_psk_use_session_callback(context, use_key);
    SSL_CTX_set_psk_find_session_callback(context, find_key);
    ssl_.reset(SSL_new(context));
    BIO* const bio = ssl_ ? BIO_new(socket_method()) : nullptr;
    if (bio == nullptr) return internal("TLS could not be set up: " + reason());
    BIO_set_data(bio, reinterpret_cast<void*>(static_cast<std::intptr_t>(socket_.get())));
    SSL_set_bio(ssl_.get(), bio, bio);
    SSL_set_app_data(ssl_.get(), &key_);
    if (side == Side::connecting) SSL_set_connect_state(ssl_.get());
    else SSL_set_accept_state(ssl_.get());
    return {};
  }

  int fd() const override { return socket_.get(); }
  short wants() const override { return SSL_want_write(ssl_.get()) ? POLLOUT : POLLIN; }

  Result<bool> handshake() override {
    forget_errors();
    const int done = SSL_do_handshake(ssl_.get());
    if (done == 1) {
      if (SSL_session_reused(ssl_.get()) == 1) return true;  // by the key, and nothing else
      return invalid("the TLS connection was not made by the job's secret");
    }
    const int error = SSL_get_error(ssl_.get(), done);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return false;
    if (error == SSL_ERROR_SYSCALL || error == SSL_ERROR_ZERO_RETURN)
      return peer_lost("connection closed during the TLS handshake");
    return invalid("the two processes do not share the job's secret, or are of different jobs (TLS: " + reason() + ")");
  }

  ssize_t write(std::span<const iovec> parts) override {
    if (parts.empty()) return 0;
    forget_errors();
    // A key of AES-GCM is good for some 24 million records (RFC 8446, 5.5). The other end need not answer.
    if (records_ >= kRecordsOfKey && SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_NOT_REQUESTED) == 1) records_ = 0;
    // Small parts share a record; a large one is taken as it lies.
    if (parts.front().iov_len >= kRecordBytes || parts.size() == 1)
      return written(
          SSL_write(ssl_.get(), parts.front().iov_base, static_cast<int>(std::min(parts.front().iov_len, kWriteMax))));
    gathered_.clear();
    for (const iovec& part : parts) {
      const std::size_t n = std::min(part.iov_len, kRecordBytes - gathered_.size());
      const auto* const from = static_cast<const std::byte*>(part.iov_base);
      gathered_.insert(gathered_.end(), from, from + n);
      if (gathered_.size() == kRecordBytes) break;
    }
    return written(SSL_write(ssl_.get(), gathered_.data(), static_cast<int>(gathered_.size())));
  }

  ssize_t read(Bytes into) override {
    forget_errors();
    return result(SSL_read(ssl_.get(), into.data(), static_cast<int>(std::min(into.size(), kWriteMax))));
  }
  bool verifies() const override { return true; }
  bool short_means_blocked() const override { return false; }

 private:
  /// Of one record or less, as write() has it.
  ssize_t written(int n) {
    if (n > 0) ++records_;
    return result(n);
  }

  static constexpr std::size_t kWriteMax = 1 << 30;

  /// OpenSSL's results are read from what the thread's last failures left.
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
  Key key_;
  Context context_;
  Connection ssl_;  // before socket and key go
  std::vector<std::byte> gathered_;
  int records_ = 0;  // written with the present key
};

}  // namespace

Result<std::unique_ptr<Stream>> make_tls_stream(Descriptor socket, const Key& key, Side side) {
  auto stream = std::make_unique<TlsStream>(std::move(socket), key);
  COHAUL_TRY(stream->open(side));
  return std::unique_ptr<Stream>(std::move(stream));
}

}  // namespace cohaul::transport
