#pragma once
// The TCP form of a channel: header, body and payload follow each other in the stream. Payloads are written from where they lie and read
// where `place` says, else into buffers that are used again.

#include <array>
#include <memory>
#include <vector>

#include "cohaul/transport/fifo.h"
#include "cohaul/transport/frame_pool.h"
#include "cohaul/transport/real_poller.h"
#include "cohaul/transport/stream.h"
#include "cohaul/transport/wire.h"

namespace cohaul::transport {

class TcpChannel final : public Channel, public Watched {
 public:
  /// `stream` is greeted.
  TcpChannel(std::unique_ptr<Stream> stream, Identity self, Identity peer);
  ~TcpChannel() override { drop_incoming(); }

  Status send(const Message& message) override;
  Result<std::optional<Frame>> receive() override;
  Result<bool> flush() override;
  Status lend(const Arena&) override { return {}; }
  void set_place(Place place) override { place_ = std::move(place); }
  const Identity& peer() const override { return peer_; }
  bool shares_memory() const override { return false; }
  std::uint64_t payload_bytes_sent() const override { return payload_bytes_sent_; }

  Status attach(RealPoller& poller) override;
  void detach(RealPoller& poller) override;
  void on_event(int fd, std::uint32_t events) override;
  bool ready() override;

 private:
  struct Outgoing {
    std::vector<std::byte> head;  // header and body, and a small payload
    ConstBytes payload;
    std::shared_ptr<const void> keep;
    std::size_t written = 0;
    std::size_t size() const { return head.size() + payload.size(); }
  };
  /// A frame on its way in.
  struct Incoming {
    Header header;
    PooledBuffer* buffer = nullptr;
    Bytes body, payload;
    std::size_t filled = 0;
    std::size_t size() const { return body.size() + payload.size(); }
  };

  bool write_some();
  void written(std::size_t bytes);
  void lose_sending(Status why);
  void pump();
  bool begin_frame();
  bool fill_frame();
  bool finish_frame();
  Bytes rest_of_incoming();
  bool fill_buffer();
  /// Reads into `at`; false when nothing came (readable_ or failed_ say why).
  bool read_into(Bytes at, std::size_t& got);
  void fail(Status why);
  void drop_incoming();

  std::unique_ptr<Stream> stream_;
  Identity self_, peer_;
  std::uint64_t sent_ = 0, received_ = 0;  // frames
  std::uint64_t payload_bytes_sent_ = 0;
  Fifo<Outgoing> queue_;
  Status send_failed_;
  Place place_;
  std::shared_ptr<FramePool> pool_;
  std::vector<std::byte> buffer_;
  std::size_t begin_ = 0, end_ = 0;  // unread part of buffer_
  std::optional<Incoming> incoming_;
  std::optional<Frame> next_;
  Status failed_;
  bool attached_ = false, readable_ = true, writable_ = true, hung_up_ = false;
  bool told_ = false;  // failed_ has been returned by receive()
};

}  // namespace cohaul::transport
