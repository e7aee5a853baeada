#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "cohaul/base/limits.h"
#include "cohaul/job/engines/directory.h"
#include "cohaul/transport/socket.h"

namespace cohaul::job {
namespace {

constexpr const char* kKey = "cohaul-host";

/// The value of a word "name=value" of a line; empty: there is none.
std::string value_of(const std::string& line, const std::string& name) {
  const std::string word = " " + name + "=";
  const std::size_t at = (" " + line).find(word);
  if (at == std::string::npos) return {};
  const std::size_t begin = at + word.size() - 1;
  return line.substr(begin, line.find(' ', begin) - begin);
}

}  // namespace

Result<std::string> Pmi::ask(const std::string& line, const std::string& command) {
  std::string out = line + "\n";
  while (!out.empty()) {
    const ssize_t n = ::write(fd_, out.data(), out.size());
    if (n < 0 && errno == EAGAIN && transport::wait_for(fd_, POLLOUT, deadline_)) continue;
    if (n < 0 && errno != EINTR) return system_error("talk to mpirun over PMI", errno);
    if (n > 0) out.erase(0, static_cast<std::size_t>(n));
  }
  std::string answer;
  for (char c = 0; answer.size() < kLineBytesMax;) {  // bytewise: what follows the line is not ours
    if (!transport::wait_for(fd_, POLLIN, deadline_))
      return peer_lost("mpirun did not answer '" + line + "' in time: other tasks may not have come");
    const ssize_t n = ::read(fd_, &c, 1);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) return peer_lost("mpirun closed its PMI connection");
    if (c == '\n') break;
    answer += c;
  }
  if (value_of(answer, "cmd") == command && (value_of(answer, "rc").empty() || value_of(answer, "rc") == "0"))
    return answer;
  return internal("mpirun answers '" + line + "' with '" + answer + "'");
}

Status Pmi::open() { return ask("cmd=init pmi_version=1 pmi_subversion=1", "response_to_init").status(); }

Result<std::string> Pmi::run_name() {
  COHAUL_ASSIGN(const std::string answer, ask("cmd=get_my_kvsname", "my_kvsname"));
  return value_of(answer, "kvsname");
}

Result<std::string> Pmi::host(bool says, const std::string& host, const std::string& run_name) {
  if (says) COHAUL_TRY(ask("cmd=put kvsname=" + run_name + " key=" + kKey + " value=" + host, "put_result").status());
  COHAUL_TRY(ask("cmd=barrier_in", "barrier_out").status());
  COHAUL_ASSIGN(const std::string answer, ask("cmd=get kvsname=" + run_name + " key=" + kKey, "get_result"));
  return value_of(answer, "value");
}

Status Pmi::close() { return ask("cmd=finalize", "finalize_ack").status(); }

}  // namespace cohaul::job
