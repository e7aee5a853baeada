#include "cohaul/observe/output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "cohaul/base/write_all.h"

namespace cohaul::observe {

Result<Output> Output::open(const std::string& option, const std::string& path, int flags) {
  Output out;
  if (path.empty()) return out;
  out.name_ = option + " " + path;
  out.owned_ = path != "-";
  const bool anew = (flags & O_TRUNC) != 0;
  if (!out.owned_) out.fd_ = STDOUT_FILENO;
  else if (anew) out.fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | flags, 0666);
  else out.fd_ = open_at_end(path.c_str(), O_CREAT | flags, 0666);
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
  std::swap(gone_, other.gone_);
  std::swap(name_, other.name_);
  std::swap(status_, other.status_);
  return *this;
}

Output::~Output() {
  if (owned_ && fd_ >= 0) ::close(fd_);
}

void Output::write(std::string_view piece) {
  if (fd_ < 0 || gone_ || !status_.ok()) return;
  const int error = write_all(fd_, as_bytes(piece));
  gone_ = error == EPIPE;
  if (error != 0 && !gone_) status_ = system_error("write " + name_, error);
}

}  // namespace cohaul::observe
