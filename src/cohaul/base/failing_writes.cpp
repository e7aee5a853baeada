#include "cohaul/base/failing_writes.h"

#include <iterator>

namespace cohaul {
namespace {

constexpr int kSignals[] = {SIGPIPE, SIGXFSZ};

// A handler instead of SIG_IGN, which child processes would inherit.
void take_no_notice(int) {}

}  // namespace

FailingWrites::FailingWrites() {
  for (std::size_t i = 0; i < std::size(kSignals); ++i) {
    ::sigaction(kSignals[i], nullptr, &before_[i]);
    if (before_[i].sa_handler != SIG_DFL) continue;
    struct sigaction ours {};
    ours.sa_handler = take_no_notice;
    ours.sa_flags = SA_RESTART;
    ::sigaction(kSignals[i], &ours, nullptr);
  }
}

FailingWrites::~FailingWrites() {
  for (std::size_t i = 0; i < std::size(kSignals); ++i) {
    struct sigaction now {};
    ::sigaction(kSignals[i], nullptr, &now);
    if (before_[i].sa_handler == SIG_DFL && now.sa_handler == take_no_notice)
      ::sigaction(kSignals[i], &before_[i], nullptr);
  }
}

}  // namespace cohaul
