#include "cohaul/cli/agent_command.h"

#include <fcntl.h>
#include <unistd.h>

#include "cohaul/job/hosts/agent.h"

namespace cohaul::cli {

int run_agent() {
  // Anything that is printed by mistake must not get between the messages.
  transport::Descriptor in(::fcntl(0, F_DUPFD_CLOEXEC, 3)), out(::fcntl(1, F_DUPFD_CLOEXEC, 3));
  const transport::Descriptor nowhere(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ::dup2(nowhere.get(), 0);
  ::dup2(2, 1);
  return job::run_agent(std::move(in), std::move(out));
}

}  // namespace cohaul::cli
