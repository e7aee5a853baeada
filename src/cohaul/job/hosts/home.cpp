#include "cohaul/job/hosts/home.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "cohaul/base/write_all.h"
#include "cohaul/job/launch_log.h"

namespace cohaul::job {
namespace {

namespace fs = std::filesystem;

std::string part_of(const std::string& path) { return path + ".tmp-" + std::to_string(::getpid()); }

Status write_to(const std::string& path, int fd, const std::string& bytes) {
  const int error = write_all(fd, as_bytes(std::string_view(bytes)));
  const bool done = error == 0 || error == EPIPE;  // the reader may have gone
  return done ? Status() : invalid("cannot write '" + path + "': " + std::strerror(error));
}

}  // namespace

Home::Home(std::vector<HomeFile> files, int first_stdout, int first_stderr)
    : files_(std::move(files)), first_stdout_(first_stdout), first_stderr_(first_stderr) {}

Home::~Home() {
  temporary_.keep();  // unless it was removed: a failure's message names it
  for (const HomeFile& f : files_)
    if (f.how == HomeFile::How::whole) ::unlink(part_of(f.path).c_str());
}

Status Home::open(const std::string& folder, const std::vector<MemberKey>& members) {
  std::string path = folder;
  if (folder.empty()) {
    COHAUL_ASSIGN(temporary_, TemporaryFolder::make("cohaul"));
    path = temporary_.path();
  }
  COHAUL_ASSIGN(path, make_log_folder(path));
  for (const MemberKey who : members) {
    COHAUL_ASSIGN(const job::Log log, open_log(path, who));
    logs_[who] = {log.path, transport::Descriptor(log.fd)};
  }
  return {};
}

std::string Home::log_of(MemberKey who) const {
  const auto it = logs_.find(who);
  return it == logs_.end() ? "" : it->second.path;
}

Status Home::add_to_log(MemberKey who, const std::string& bytes) {
  const auto it = logs_.find(who);
  if (it == logs_.end()) return corrupt("a log of " + describe(who) + ", whom this job does not have");
  return write_to(it->second.path, it->second.fd.get(), bytes);
}

void Home::pass_on(int stream, const std::string& bytes) const {
  const int fd = stream == 1 ? first_stdout_ : first_stderr_;
  (void)write_all(fd, as_bytes(std::string_view(bytes)));  // the reader may have gone
}

const HomeFile* Home::output_of(const std::string& name) const {
  for (const HomeFile& f : files_) {
    const bool is_in = f.how == HomeFile::How::folder && name.starts_with(f.name + "/");
    if (is_in || f.name == name) return &f;
  }
  return nullptr;
}

Result<std::string> Home::path_of(const std::string& name) const {
  const HomeFile* const f = output_of(name);
  if (f == nullptr || name.find("..") != std::string::npos)
    return corrupt("a file '" + name + "', which this job does not make");
  if (f->how == HomeFile::How::whole) return part_of(f->path);
  return f->how == HomeFile::How::folder ? f->path + name.substr(f->name.size()) : f->path;
}

Status Home::add_to_file(const std::string& name, const std::string& bytes) {
  COHAUL_ASSIGN(const std::string path, path_of(name));
  transport::Descriptor& fd = open_[name];
  if (!fd.valid()) {
    std::error_code ignored;
    fs::create_directories(fs::path(path).parent_path(), ignored);
    const int anew = output_of(name)->how == HomeFile::How::append ? 0 : O_TRUNC;
    fd = transport::Descriptor(open_at_end(path.c_str(), O_CREAT | anew, 0644));
    if (!fd.valid()) return invalid("cannot write '" + path + "': " + std::strerror(errno));
  }
  return write_to(path, fd.get(), bytes);
}

Status Home::finish() {
  for (const HomeFile& f : files_) {
    if (f.how != HomeFile::How::whole || !open_.contains(f.name)) continue;
    const std::string part = part_of(f.path);
    if (::fsync(open_.at(f.name).get()) != 0 || ::rename(part.c_str(), f.path.c_str()) != 0)
      return invalid("cannot write '" + f.path + "': " + std::strerror(errno));
  }
  return {};
}

}  // namespace cohaul::job
