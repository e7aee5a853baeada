#include "cohaul/checkpoint/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "cohaul/base/write_all.h"

namespace cohaul::checkpoint {
namespace {

/// Closes at the end of its scope.
class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  ~File() { close(); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }
  int close() { return fd_ < 0 ? 0 : ::close(std::exchange(fd_, -1)); }

 private:
  int fd_;
};

Status wrong(const std::string& path, const char* what, int error) {
  return invalid(path + ": " + what + ": " + std::strerror(error));
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

/// A new file in the folder of `path`, removed at the end of its scope unless it was renamed to it.
class Beside {
 public:
  explicit Beside(const std::string& path) : path_(path), file_(create()) {}
  ~Beside() {
    if (error_ == 0 && !named_) ::unlink(name_.c_str());
  }
  Status opened() const {
    if (path_.empty()) return invalid("the name of a file to write is empty");
    struct stat info;
    if (::stat(path_.c_str(), &info) == 0 && !S_ISREG(info.st_mode))
      return invalid(path_ + ": is there and is not a file; choose another name");
    if (error_ != 0) return wrong(path_, "cannot write into its folder", error_);
    return {};
  }
  Status write(ConstBytes bytes) {
    const int error = write_all(file_.fd(), bytes);
    return error == 0 ? Status() : wrong(path_, "cannot be written", error);
  }
  /// Writes the file to the disk and gives it its name; then writes the name to the disk.
  Status name_it() {
    if (::fsync(file_.fd()) != 0 || file_.close() != 0) return wrong(path_, "cannot be written", errno);
    if (::rename(name_.c_str(), path_.c_str()) != 0) return wrong(path_, "cannot be put in its place", errno);
    named_ = true;
    return sync_folder(folder_of(path_)).context(path_);
  }

 private:
  int create() {
    for (int k = 0; k < 100; ++k) {  // a killed process may have left one behind
      name_ = path_ + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(k);
      const int fd = ::open(name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      error_ = fd < 0 ? errno : 0;
      if (error_ != EEXIST) return fd;
    }
    return -1;
  }

  std::string path_, name_;
  int error_ = 0;
  bool named_ = false;
  File file_;
};

}  // namespace

Result<MappedFile> map_file(const std::string& path) {
  File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.fd() < 0) return wrong(path, "cannot be opened", errno);
  struct stat info;
  if (::fstat(file.fd(), &info) != 0) return wrong(path, "cannot be read", errno);
  if (!S_ISREG(info.st_mode)) return invalid(path + ": is not a file");
  const auto size = static_cast<std::size_t>(info.st_size);
  if (size == 0) return MappedFile();
  void* p = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd(), 0);
  if (p == MAP_FAILED) return wrong(path, "cannot be read", errno);
  return MappedFile{{p, [size](void* q) { ::munmap(q, size); }}, {static_cast<const std::byte*>(p), size}};
}

Status write_file(const std::string& path, std::span<const ConstBytes> parts) {
  Beside file(path);
  COHAUL_TRY(file.opened());
  for (const ConstBytes& part : parts) COHAUL_TRY(file.write(part));
  return file.name_it();
}

Status sync_folder(const std::string& path) {
  File folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.fd() < 0 || ::fsync(folder.fd()) != 0) return wrong(path, "the folder cannot be written", errno);
  return {};
}

Status check_writable(const std::string& path) { return Beside(path).opened(); }

}  // namespace cohaul::checkpoint
