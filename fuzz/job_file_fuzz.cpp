// Arbitrary bytes as a job file, an assignment of --set and a resolved job: they are refused or resolved, and a resolved job is the same after
// encoding and decoding.

#include <cstdlib>

#include "cohaul/cli/resolve.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const bool own_program = size % 2 != 0;
  const std::string assignment(text.substr(0, text.find('\n')));
  const auto job = cohaul::cli::resolve_text(text, "a.toml", {.sets = {assignment}, .own_program = own_program});
  if (job.ok() && !cohaul::config::Config::decode(job->encode()).ok()) std::abort();
  (void)cohaul::cli::resolve_text(text, "a.toml", {.own_program = own_program}).ok();
  (void)cohaul::config::Config::decode(text).ok();
  return 0;
}
