#include "cohaul/job/signals.h"

#include <sys/signalfd.h>
#include <unistd.h>

namespace cohaul::job {

Signals::Signals() {
  sigset_t set;
  sigemptyset(&set);
  for (int s : {SIGINT, SIGTERM, SIGUSR1, SIGCHLD}) sigaddset(&set, s);
  ::pthread_sigmask(SIG_BLOCK, &set, &before_);
  fd_ = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

Signals::~Signals() {
  drain();  // or they would act on the process when they are unblocked
  ::close(fd_);
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

int Signals::drain() {
  signalfd_siginfo info;
  int stop = 0;
  while (::read(fd_, &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGUSR1) checkpoint_ = true;
    else if (info.ssi_signo != SIGCHLD) stop = static_cast<int>(info.ssi_signo);
  }
  return stop;
}

std::string interruption(int signal) { return signal == SIGINT ? "interrupted (Ctrl-C)" : "ended by SIGTERM"; }

}  // namespace cohaul::job
