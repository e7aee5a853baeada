// The only place that reads the environment.
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string>

#include "cohaul/job/host_port.h"
#include "cohaul/job/job.h"
#include "cohaul/job/variables.h"

namespace cohaul::job {
namespace {

std::optional<std::string> variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

Status wrong(const char* name, const std::string& value, const std::string& expected) {
  return invalid("the environment variable " + std::string(name) + " is '" + value + "': it should be " + expected);
}

template <class T>
Status read_number(const char* name, T& out, T least, T most, const std::string& expected) {
  auto text = variable(name);
  if (!text) return {};
  T value{};
  auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size() || !(value >= least && value <= most))
    return wrong(name, *text, expected);
  out = value;
  return {};
}

constexpr int kWorldMax = 1 << 16;

Status read_count(const char* name, int& out, int least) {
  return read_number(name, out, least, kWorldMax, "a number of at least " + std::to_string(least));
}

Status read_rank(const char* name, int& out, int of) {
  return read_number(name, out, 0, of - 1, "a rank in 0 … " + std::to_string(of - 1));
}

Status read_seconds(const char* name, double& out) {
  return read_number(name, out, 0.05, 1e9, "seconds, at least 0.05");
}

/// What may be said with any launcher.
Status read_common(JoinOptions& o) {
  if (auto text = variable(variables::kTransport)) {
    if (*text == "auto") o.transport = transport::Form::auto_;
    else if (*text == "arena") o.transport = transport::Form::arena;
    else if (*text == "tcp") o.transport = transport::Form::tcp;
    else return wrong(variables::kTransport, *text, "auto, arena or tcp");
  }
  COHAUL_TRY(read_seconds(variables::kPeerTimeout, o.peer_timeout_s));
  COHAUL_TRY(read_seconds(variables::kStepTimeout, o.step_timeout_s));
  COHAUL_TRY(read_seconds(variables::kJoinTimeout, o.join_timeout_s));
  COHAUL_TRY(read_number(variables::kToken, o.token, std::uint64_t{0}, UINT64_MAX, "a number of 64 bits"));
  if (auto text = variable(variables::kListen)) o.listen = *text;
  if (auto text = variable(variables::kLog)) o.log = *text;
  return {};
}

Status read_launched(JoinOptions& o) {
  o.launched = true;
  COHAUL_TRY(read_count(variables::kWorkers, o.world, 1));
  COHAUL_TRY(read_count(variables::kServers, o.servers, 0));
  if (auto text = variable(variables::kRole)) {
    if (*text == "server") o.role = transport::Role::server;
    else if (*text != "worker") return wrong(variables::kRole, *text, "worker or server");
  }
  return read_rank(variables::kRank, o.rank, o.role == transport::Role::worker ? o.world : o.servers);
}

/// RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT: as torchrun, Slurm scripts and others set them.
Status read_other_launcher(JoinOptions& o) {
  auto rank = variable("RANK"), world = variable("WORLD_SIZE");
  if (!rank && !world) return {};
  if (!rank || !world) {
    return invalid(std::string("of the environment variables RANK and WORLD_SIZE only ") +
                   (rank ? "RANK" : "WORLD_SIZE") + " is set: set both, or none");
  }
  COHAUL_TRY(read_count("WORLD_SIZE", o.world, 1));
  COHAUL_TRY(read_rank("RANK", o.rank, o.world));
  if (o.world == 1) return {};
  auto host = variable("MASTER_ADDR"), port = variable("MASTER_PORT");
  if (!host || !port) {
    return invalid("WORLD_SIZE is " + *world + ", but " + (host ? "MASTER_PORT" : "MASTER_ADDR") +
                   " is not set: it says where worker 0 meets the others");
  }
  int number = 0;
  COHAUL_TRY(read_number("MASTER_PORT", number, 1, 65534, "a port in 1 … 65534"));
  // torchrun's own store keeps the port itself; worker 0 cannot listen there.
  if (variable("TORCHELASTIC_USE_AGENT_STORE") == "True") ++number;
  o.address = HostPort{*host, static_cast<std::uint16_t>(number)}.text();
  if (variable(variables::kListen)) return {};
  COHAUL_ASSIGN(std::string numeric, resolve(*host).context("the environment variable MASTER_ADDR"));
  COHAUL_ASSIGN(o.listen, local_address_towards(numeric));
  return {};
}

}  // namespace

Result<JoinOptions> from_environment() {
  JoinOptions o;
  COHAUL_TRY(read_common(o));
  if (auto address = variable(variables::kAddress)) {
    o.address = *address;
    COHAUL_TRY(read_launched(o));
  } else {
    COHAUL_TRY(read_other_launcher(o));
  }
  return o;
}

}  // namespace cohaul::job
