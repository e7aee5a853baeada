// The only place that reads the environment.
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "cohaul/base/limits.h"
#include "cohaul/job/certificates.h"
#include "cohaul/job/cores.h"
#include "cohaul/job/engines/directory.h"
#include "cohaul/job/error_file.h"
#include "cohaul/job/host_port.h"
#include "cohaul/job/job.h"
#include "cohaul/job/secret.h"
#include "cohaul/job/told_variables.h"
#include "cohaul/job/variables.h"

namespace cohaul::job {
namespace {

std::optional<std::string> variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

Variables all_variables() {
  Variables all;
  for (char** e = environ; *e != nullptr; ++e) {
    const std::string_view entry = *e;
    if (const std::size_t equals = entry.find('='); equals != std::string_view::npos)
      all.emplace(entry.substr(0, equals), entry.substr(equals + 1));
  }
  return all;
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

constexpr std::size_t kSaidAddresses = 4;  // of worker 0, through an engine's directory

Status read_count(const char* name, int& out, int least) {
  return read_number(name, out, least, kWorldMax, "a number of at least " + std::to_string(least));
}

Status read_rank(const char* name, int& out, int of) {
  return read_number(name, out, 0, of - 1, "a rank in 0 … " + std::to_string(of - 1));
}

Status read_seconds(const char* name, double& out) {
  return read_number(name, out, 0.05, 1e9, "seconds, at least 0.05");
}

/// Reads the variables that may be set under any launcher.
Status read_common(JoinOptions& o) {
  if (auto text = variable(variables::kTransport)) {
    const std::optional<transport::Form> form = transport::form_of(*text);
    if (!form) return wrong(variables::kTransport, *text, "auto, arena or tcp");
    o.transport = *form;
  }
  COHAUL_TRY(read_seconds(variables::kPeerTimeout, o.peer_timeout_s));
  COHAUL_TRY(read_seconds(variables::kStepTimeout, o.step_timeout_s));
  COHAUL_TRY(read_seconds(variables::kJoinTimeout, o.join_timeout_s));
  COHAUL_TRY(read_number(variables::kToken, o.token, std::uint64_t{0}, UINT64_MAX, "a number of 64 bits"));
  if (auto text = variable(variables::kListen)) o.listen = split_hosts(*text);
  COHAUL_TRY(read_number(variables::kPort, o.port, std::uint16_t{1}, std::uint16_t{65535}, "a port in 1 … 65535"));
  if (auto text = variable(variables::kPorts)) {
    COHAUL_ASSIGN(o.ports, parse_ports(*text).context(std::string("the environment variable ") + variables::kPorts));
  }
  if (auto text = variable(variables::kPlaintext)) {
    if (*text != "0" && *text != "1") return wrong(variables::kPlaintext, *text, "0 or 1");
    o.plaintext = *text == "1";
  }
  if (auto text = variable(variables::kLog)) o.log = *text;
  o.wants_threads = wanted_threads();
  return {};
}

/// Reads certificates: those of Cohaul's launcher, which live as long as the job, or the user's own.
Status read_certificates(JoinOptions& o) {
  const CertificateFiles files{.certificate = variable(variables::kTlsCert).value_or(""),
                               .key = variable(variables::kTlsKey).value_or(""),
                               .authority = variable(variables::kTlsCa).value_or("")};
  if (!files.any()) return {};
  const std::optional<std::string> issued = variable(variables::kTlsJob);
  const std::string job = issued.value_or(variable(variables::kJob).value_or(kAnyJob));
  COHAUL_ASSIGN(o.certificate, read_certificate(files, job, !issued, {o.role, o.rank}));
  return {};
}

/// Reads the secret where the job leaves this host: the one that the user names, or the one kept in the home.
Status read_the_secret(JoinOptions& o) {
  COHAUL_TRY(read_certificates(o));
  if (o.certificate != nullptr) return {};
  if (auto text = variable(variables::kSecret)) {
    if (text->size() < kSecretLeast)
      return invalid(std::string("the environment variable ") + variables::kSecret + " has " +
                     std::to_string(text->size()) + " characters, and needs " + std::to_string(kSecretLeast) +
                     ": `cohaul secret` makes one");
    o.secret = *text;
    return {};
  }
  const std::optional<std::string> named = variable(variables::kSecretFile);
  const std::string file = named.value_or(o.plaintext ? "" : users_secret_file());
  if (!named && ::access(file.c_str(), F_OK) != 0) return {};
  COHAUL_ASSIGN(o.secret, read_secret(file));
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
  COHAUL_TRY(read_rank(variables::kRank, o.rank, o.role == transport::Role::worker ? o.world : o.servers));
  return read_certificates(o);
}

/// Returns the addresses at which this process listens and others can reach it: the one that faces worker 0 first.
Result<std::vector<std::string>> addresses_of(const JoinOptions& o, const Place& place, Time deadline) {
  if (variable(variables::kListen)) return o.listen;
  if (place.on_one_host()) return std::vector<std::string>{kThisHost};
  COHAUL_ASSIGN(const HostPort at, parse_host_port(split_hosts(place.meet_at).front()));
  COHAUL_ASSIGN(const std::vector<std::string> host, resolve(at.host, deadline).context("the host of worker 0"));
  // Debian gives a host's own name a loopback address, which is right where all are on it.
  if (place.tasks_on_host != 0 && is_loopback(host.front())) return outward_addresses();
  COHAUL_ASSIGN(const std::string facing, local_address_towards(host.front()));
  std::vector<std::string> out{facing};
  if (is_loopback(facing)) return out;
  COHAUL_ASSIGN(const std::vector<std::string> others, outward_addresses());
  for (const std::string& other : others)
    if (other != facing) out.push_back(other);
  return out;
}

/// Fills in what an engine says. Its last tasks are the servers that the user has asked for.
Status read_engine(Place place, JoinOptions& o) {
  COHAUL_TRY(place.mistake);
  COHAUL_TRY(read_count(variables::kServers, o.servers, 0));
  COHAUL_ASSIGN(const MemberKey who, member_of(place, o.servers));
  const Time deadline = steady_clock().now() + seconds(o.join_timeout_s);
  if (place.directory != Directory::none) {
    std::string host;
    if (place.meet_at.empty()) {
      COHAUL_ASSIGN(std::vector<std::string> own, outward_addresses());
      own.resize(std::min(own.size(), kSaidAddresses));
      host = comma_list(own);
    }
    COHAUL_TRY(ask_directory(place, host, deadline).context(place.engine));
  }
  o.world = place.tasks - o.servers;
  o.role = who.role;
  o.rank = who.rank;
  o.run_name = variable(variables::kJob).value_or(place.run_name);
  if (place.tasks == 1) return {};
  o.address = place.meet_at;
  if (place.ends_with_engine) o.engine = place.engine;
  COHAUL_ASSIGN(o.listen, addresses_of(o, place, deadline));
  return all_loopback(o.listen) ? Status() : read_the_secret(o);
}

}  // namespace

Result<JoinOptions> from_environment() {
  JoinOptions o;
  COHAUL_TRY(read_common(o));
  if (auto address = variable(variables::kAddress)) {
    o.address = *address;
    COHAUL_TRY(read_launched(o));
  } else {
    COHAUL_ASSIGN(const std::optional<Place> place, place_from_environment());
    if (place) COHAUL_TRY(read_engine(*place, o));
  }
  return o;
}

std::string torchruns_error_file() { return variable("TORCHELASTIC_ERROR_FILE").value_or(""); }

int wanted_threads() {
  const std::string text = variable("OMP_NUM_THREADS").value_or("");
  int threads = 0;  // of the outermost level, where there is a list
  (void)std::from_chars(text.data(), text.data() + text.size(), threads);
  // torchrun sets 1 where its user has set nothing.
  const bool is_torchruns = threads == 1 && variable("TORCHELASTIC_RUN_ID");
  return is_torchruns ? 0 : std::clamp(threads, 0, 1024);
}

std::string users_secret_file() {
  const std::string config = variable("XDG_CONFIG_HOME").value_or("");
  if (!config.empty()) return config + "/cohaul/secret";
  const std::string home = variable("HOME").value_or("");
  return home.empty() ? "" : home + "/.config/cohaul/secret";
}

Result<std::optional<Place>> place_from_environment() {
  if (variable(variables::kAddress)) return std::optional<Place>();
  return find_place(all_variables());
}

Variables told_variables() { return told_variables(all_variables()); }

}  // namespace cohaul::job
