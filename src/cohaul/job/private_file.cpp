#include "cohaul/job/private_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "cohaul/transport/descriptor.h"

namespace cohaul::job {

Result<std::string> read_file(const std::string& path, std::size_t most, Readers readers) {
  const auto failed = [&](const std::string& why) { return invalid(path + ": " + why); };
  const transport::Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat about {};
  if (!fd.valid() || ::fstat(fd.get(), &about) != 0) return failed(std::strerror(errno));
  if (readers == Readers::owner && (about.st_mode & (S_IRWXG | S_IRWXO)) != 0)
    return failed("others may read or write it: chmod 600 '" + path + "', and make a new one if they have");
  std::string text(most, '\0');
  std::size_t size = 0;
  while (size < most) {
    const ssize_t n = ::pread(fd.get(), text.data() + size, most - size, static_cast<off_t>(size));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed(std::strerror(errno));
    if (n == 0) break;
    size += static_cast<std::size_t>(n);
  }
  text.resize(size);
  return text;
}

}  // namespace cohaul::job
