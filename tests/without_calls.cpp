// without_calls ENOSYS|EPERM PROGRAM [args]: runs a program as a kernel does that has none of the calls since Linux 5.1, nor renameat2.

#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <vector>

#include "cohaul/base/testing/refused_calls.h"

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  // The C library itself takes EPERM of most calls for the last word; Cohaul's own must not.
  std::vector<long> calls{SYS_renameat2, SYS_epoll_pwait2};
  if (argv[1] == std::string_view("ENOSYS"))
    for (long call = SYS_pidfd_send_signal; call < 500; ++call) calls.push_back(call);
  if (!cohaul::testing_tools::refuse_calls(calls, argv[1] == std::string_view("ENOSYS") ? ENOSYS : EPERM)) return 3;
  ::execv(argv[2], argv + 2);
  return 127;
}
