#include "cohaul/observe/output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace cohaul::observe {

Result<Output> Output::open(const std::string& option, const std::string& path, int flags) {
  Output out;
  if (path.empty()) return out;
  out.name_ = option + " " + path;
  out.owned_ = path != "-";
  out.fd_ = out.owned_ ? ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | flags, 0666) : STDOUT_FILENO;
  if (out.fd_ < 0)
    return invalid(out.name_ + ": cannot be written: " + std::strerror(errno) +
                   "; give a path in a folder that exists and is yours, or -");
  return out;
}

Result<Output> Output::create(const std::string& option, const std::string& path) {
  return open(option, path, O_TRUNC);
}
Result<Output> Output::append(const std::string& option, const std::string& path) { return open(option, path, 0); }

Output& Output::operator=(Output&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(owned_, other.owned_);
  std::swap(name_, other.name_);
  std::swap(status_, other.status_);
  return *this;
}

Output::~Output() {
  if (owned_ && fd_ >= 0) ::close(fd_);
}

void Output::write(std::string_view piece) {
  while (fd_ >= 0 && status_.ok() && !piece.empty()) {
    const ssize_t n = ::write(fd_, piece.data(), piece.size());
    if (n < 0 && errno != EINTR) status_ = system_error("write " + name_, errno);
    if (n > 0) piece.remove_prefix(static_cast<std::size_t>(n));
  }
}

}  // namespace cohaul::observe
