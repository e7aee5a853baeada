#include "cohaul/job/error_file.h"

#include <fstream>

#include <nlohmann/json.hpp>

namespace cohaul::job {

std::string error_file_text(const std::string& message, Time now) {
  const nlohmann::json text{
      {"message", {{"message", message}, {"extraInfo", {{"timestamp", std::to_string(now / kSecond)}}}}}};
  return text.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void tell_torchrun(const Status& why, const Clock& clock) {
  const std::string file = torchruns_error_file();
  if (file.empty() || why.ok() || why.code() == Code::peer_lost) return;
  std::ofstream(file) << error_file_text(why.message(), clock.now());
}

}  // namespace cohaul::job
