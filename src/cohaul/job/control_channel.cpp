#include "cohaul/job/control_channel.h"

#include <memory>

namespace cohaul::job {

Status send_control(transport::Channel& channel, ControlMessage message) {
  std::vector<std::byte> body = encode_body(message);
  auto value = std::make_shared<const std::string>(std::move(message.value));
  transport::Message out;
  out.kind = static_cast<std::uint16_t>(message.kind);
  out.clock = message.request;
  out.key = message.number;
  out.body = body;
  out.payload = as_bytes(std::string_view(*value));
  out.keep = value;
  return channel.send(out);
}

Result<std::optional<ControlMessage>> receive_control(transport::Channel& channel) {
  COHAUL_ASSIGN(auto frame, channel.receive());
  if (!frame.has_value()) return std::optional<ControlMessage>{};
  COHAUL_ASSIGN(ControlMessage message,
                decode_control(frame->kind, frame->clock, frame->key, frame->body, frame->payload));
  return std::optional<ControlMessage>(std::move(message));
}

void take_turns(const std::stop_token& stop, transport::Poller& poller, const std::function<Time()>& turn) {
  const std::stop_callback wake(stop, [&] { poller.wake(); });
  while (!stop.stop_requested()) (void)poller.wait(turn()).ok();
}

}  // namespace cohaul::job
