#include "cohaul/job/hosts/tail.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace cohaul::job {

std::string Tail::read(std::size_t most) {
  if (!fd_.valid()) fd_ = transport::Descriptor(::open(path_.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd_.valid()) return "";
  std::string out(most, '\0');
  ssize_t n = -1;
  do n = ::pread(fd_.get(), out.data(), most, static_cast<off_t>(at_));
  while (n < 0 && errno == EINTR);
  out.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  at_ += out.size();
  return out;
}

}  // namespace cohaul::job
