#include "cohaul/job/job_id.h"

#include <sys/random.h>
#include <unistd.h>

#include "cohaul/base/check.h"
#include "cohaul/base/random.h"
#include "cohaul/job/cores.h"
#include "cohaul/job/process.h"
#include "cohaul/job/secret.h"

namespace cohaul::job {

std::uint64_t random_bits() {
  std::uint64_t bits = 0;
  COHAUL_CHECK(::getrandom(&bits, sizeof bits, 0) == sizeof bits, "the system gives random bits");
  return bits;
}

std::uint64_t job_id(std::uint64_t token) { return mix_seed(0, token); }

std::uint64_t job_id(const std::string& name) {
  std::uint64_t id = mix_seed(1, name.size());
  for (char c : name) id = mix_seed(id, static_cast<unsigned char>(c));
  return id;
}

std::vector<std::uint16_t> ports_of(const std::string& run_name) {
  constexpr std::uint64_t kFirst = 20'000,
                          kCount = 12'000;  // below those that Linux gives to a program that asks for any
  constexpr std::uint64_t kTries = 8;
  std::vector<std::uint16_t> out;
  for (std::uint64_t i = 0; i < kTries; ++i)
    out.push_back(static_cast<std::uint16_t>(kFirst + mix_seed(job_id(run_name), i) % kCount));
  return out;
}

transport::Identity control_identity(const JoinOptions& options) {
  transport::Identity self;
  if (options.token != 0) self.job = job_id(options.token);
  else self.job = job_id(options.run_name.empty() ? options.address : options.run_name);
  self.token = options.token;
  if (options.certificate != nullptr) {
    transport::Certificate own = *options.certificate;
    own.threads_of = options.servers == 0 ? options.world : 0;
    own.worker_0_hosts = !options.launched;
    self.credentials = std::make_shared<const transport::Certificate>(std::move(own));
  } else if (!options.secret.empty()) {
    self.credentials = key_of(options.secret, options.run_name.empty() ? options.address : options.run_name);
  }
  self.role = options.role;
  self.rank = options.rank;
  self.incarnation = Incarnation(random_bits());
  self.purpose = "control";
  return self;
}

Member this_member(const JoinOptions& options, Incarnation incarnation, const std::string& host_id) {
  Member m;
  m.role = options.role;
  m.rank = options.rank;
  m.pid = ::getpid();
  m.process = process_key(::getpid());
  m.host = host_name();
  m.host_id = host_id;
  m.cpus = allowed_cpus();
  m.quota = quota_cores();
  m.wants_threads = options.wants_threads;
  m.instruction_set = options.instruction_set;
  m.log = options.log;
  m.incarnation = incarnation;
  return m;
}

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "unknown";
}

}  // namespace cohaul::job
