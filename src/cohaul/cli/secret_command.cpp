#include "cohaul/cli/secret_command.h"

#include <filesystem>
#include <iostream>

#include "cohaul/base/exit_code.h"
#include "cohaul/job/secret.h"

namespace cohaul::cli {

int run_secret() {
  const std::string file = job::users_secret_file();
  Status status =
      file.empty() ? invalid("the environment names no home (HOME): it is where the secret is kept") : Status();
  const bool there = status.ok() && std::filesystem::exists(file);
  if (status.ok()) status = there ? job::read_secret(file).status() : job::make_secret(file);
  if (status.ok()) {
    std::cout << (there ? "The secret is there already: " : "A new secret: ") << file
              << "\nJobs on several hosts use it where all hosts see this file, or a copy that only you can read.\n";
    return kDone;
  }
  std::cerr << "cohaul: " << status.message() << "\n";
  return exit_code(status.code());
}

}  // namespace cohaul::cli
