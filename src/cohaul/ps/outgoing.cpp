#include "cohaul/ps/outgoing.h"

namespace cohaul::ps {

Status Outgoing::send(const transport::Message& message) {
  if (waiting_.empty()) {
    Status sent = channel_.send(message);
    if (sent.code() != Code::unavailable) return sent;
  }
  waiting_.push_back({message, {message.body.begin(), message.body.end()}});
  waiting_.back().message.body = waiting_.back().body;
  return {};
}

Result<bool> Outgoing::flush() {
  while (!waiting_.empty()) {
    Status sent = channel_.send(waiting_.front().message);
    if (sent.code() == Code::unavailable) return false;
    if (!sent.ok()) return sent;
    waiting_.pop_front();
  }
  return channel_.flush();
}

}  // namespace cohaul::ps
