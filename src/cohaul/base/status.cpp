#include "cohaul/base/status.h"

#include <sys/resource.h>

#include <cerrno>
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

namespace {

/// A limit of this process that `error` may come from.
struct Limit {
  int error, resource;
  std::string_view what, option;
};
constexpr Limit kLimits[] = {{ENOMEM, RLIMIT_AS, "address space", "-v"},
                             {EFBIG, RLIMIT_FSIZE, "files and shared memory", "-f"},
                             {EMFILE, RLIMIT_NOFILE, "open descriptors", "-n"},
                             {EAGAIN, RLIMIT_NPROC, "the user's processes and threads", "-u"}};

std::string limit_behind(int error) {
  for (const Limit& l : kLimits) {
    rlimit limit{};
    if (l.error != error || ::getrlimit(static_cast<__rlimit_resource>(l.resource), &limit) != 0 ||
        limit.rlim_cur == RLIM_INFINITY)
      continue;
    const bool in_kib = l.resource == RLIMIT_AS || l.resource == RLIMIT_FSIZE;
    return " (ulimit " + std::string(l.option) + " limits " + std::string(l.what) + " to " +
           std::to_string(in_kib ? limit.rlim_cur / 1024 : limit.rlim_cur) + (in_kib ? " KiB" : "") + ": raise it)";
  }
  return error == ENOSPC ? " (free space there, or choose another place)" : "";
}

}  // namespace

Status system_error(std::string_view what, int error) {
  return internal(std::string(what) + ": " + std::strerror(error) + limit_behind(error));
}

}  // namespace cohaul
