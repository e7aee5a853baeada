#include "cohaul/base/status.h"

#include <cstring>

namespace cohaul {

std::string_view name(Code code) {
  switch (code) {
    case Code::ok: return "ok";
    case Code::invalid: return "invalid";
    case Code::unavailable: return "unavailable";
    case Code::peer_lost: return "peer_lost";
    case Code::stale: return "stale";
    case Code::unsupported: return "unsupported";
    case Code::corrupt: return "corrupt";
    case Code::internal: return "internal";
  }
  return "unknown";
}

Status::Status(Code code, std::string message)
    : detail_(code == Code::ok ? nullptr : std::make_shared<const Detail>(Detail{code, std::move(message), {}})) {}

std::string_view Status::cause() const { return detail_ ? std::string_view(detail_->cause) : std::string_view(); }

std::string Status::message() const { return detail_ ? detail_->context + detail_->cause : std::string(); }

Status Status::context(std::string_view what) const {
  if (ok()) return *this;
  Status out;
  out.detail_ = std::make_shared<const Detail>(
      Detail{detail_->code, detail_->cause, std::string(what) + ": " + detail_->context});
  return out;
}

Status system_error(std::string_view what, int error) {
  return internal(std::string(what) + ": " + std::strerror(error));
}

}  // namespace cohaul
