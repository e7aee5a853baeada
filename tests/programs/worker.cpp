// A worker of a long-lived job: programs_worker SOCKET FOLDER. It receives programs over the socket and answers each with its outcome, until the
// socket is closed.
#include <ATen/Parallel.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "cohaul/train/error.h"
#include "cohaul/train/run.h"
#include "messages.h"
#include "run.h"

namespace {

using namespace cohaul;

strategy::Strategy strategy_of(const nlohmann::json& request) {
  const std::string name = request.at("strategy");
  if (name == "single") return strategy::Single{};
  if (name == "all_reduce") return strategy::AllReduce{};
  return strategy::ParameterServer{.servers = request.at("servers")};
}

void serve(job::Job& job, const std::string& socket_path, const std::string& folder) {
  at::set_num_threads(1);  // sums inside LibTorch depend on it
  const int socket = or_throw(programs::connect_to(socket_path));
  const std::int32_t rank = job.rank();
  or_throw(programs::send_message(socket, as_bytes(std::span(&rank, 1))));
  for (;;) {
    const auto message = programs::receive_message(socket, 0);
    if (!message.ok()) break;  // the driver has no more programs
    const auto* text = reinterpret_cast<const char*>(message->data());
    const nlohmann::json request = nlohmann::json::parse(text, text + message->size());
    const programs::Program program = programs::from_json(request.at("program"));
    const programs::Outcome outcome = programs::run_program(job, program, strategy_of(request), folder);
    if (!programs::send_message(socket, outcome.encode()).ok()) break;
  }
  ::close(socket);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 64;
  return train::run([&](job::Job& job) { serve(job, argv[1], argv[2]); });
}
