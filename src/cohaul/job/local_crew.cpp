#include "cohaul/job/local_crew.h"

#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "cohaul/base/mutex.h"
#include "cohaul/job/cores.h"
#include "cohaul/job/host_port.h"
#include "cohaul/job/job_id.h"
#include "cohaul/job/process.h"
#include "cohaul/job/variables.h"

namespace cohaul::job {

using transport::Role;

/// Decisions, from the rendezvous' thread to the crew's.
class Mailbox {
 public:
  Mailbox() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~Mailbox() { ::close(fd_); }
  Mailbox(const Mailbox&) = delete;
  int fd() const { return fd_; }
  void put(const Decision& d) {
    const MutexLock lock(mutex_);
    decisions_.push_back(d);
    (void)!::eventfd_write(fd_, 1);
  }
  std::vector<Decision> take() {
    const MutexLock lock(mutex_);
    eventfd_t ignored;
    (void)!::eventfd_read(fd_, &ignored);
    return std::exchange(decisions_, {});
  }

 private:
  Mutex mutex_;
  int fd_;
  std::vector<Decision> decisions_ COHAUL_GUARDED_BY(mutex_);
};

namespace {

constexpr MemberKey kFirst{Role::worker, 0}, kRendezvous{Role::launcher, 0};

/// Names of the plan's texts that hold certificates.
std::string text_name(MemberKey who, const char* what) { return describe(who) + " " + what; }

CrewPlan with_certificates_as_texts(CrewPlan plan) {
  for (const auto& [who, c] : plan.certificates) {
    if (who == kRendezvous) continue;
    plan.texts[text_name(who, "certificate")] = c.chain;
    plan.texts[text_name(who, "key")] = c.key;
    plan.texts[text_name(who, "authority")] = c.authority;
  }
  return plan;
}

}  // namespace

LocalCrew::LocalCrew(CrewPlan plan, int first_stdout, int first_stderr, OnStarted on_started)
    : plan_(with_certificates_as_texts(std::move(plan))),
      on_started_(std::move(on_started)),
      first_stdout_(first_stdout),
      first_stderr_(first_stderr),
      mailbox_(std::make_unique<Mailbox>()) {}

LocalCrew::~LocalCrew() {
  for (Child& c : children_) end_now(c);
}

Status LocalCrew::start(const Interrupt&) {
  const Status started = start_all();
  if (started.ok()) return started;
  for (Child& c : children_) end_now(c);
  logs_.remove_temporary();
  return started;
}

Status LocalCrew::start_all() {
  COHAUL_TRY(prepare());
  COHAUL_ASSIGN(const std::string address, listen());
  return start_members(address);
}

Status LocalCrew::prepare() {
  if (mailbox_->fd() < 0) return system_error("open the launcher's descriptors", errno);
  if (!plan_.outputs.empty()) {
    COHAUL_ASSIGN(outputs_, TemporaryFolder::make("cohaul-outputs"));
  }
  for (const auto& [name, text] : plan_.texts) {
    COHAUL_ASSIGN(MemoryFile file, MemoryFile::of(expand(text)));
    texts_.emplace(name, std::move(file));
  }
  return logs_.open(plan_.logs, first_stdout_, first_stderr_);
}

Result<std::string> LocalCrew::listen() {
  COHAUL_ASSIGN(const HostPort at, parse_host_port(plan_.address).context("job.address"));
  COHAUL_ASSIGN(listen_, own_addresses(at.host).context("job.address"));
  Membership::Options membership;
  membership.workers = plan_.workers;
  membership.servers = plan_.servers;
  membership.peer_timeout = seconds(plan_.peer_timeout_s);
  membership.join_timeout = seconds(plan_.join_timeout_s);
  membership.must_join = plan_.must_join;
  transport::Identity self;
  self.job = job_id(plan_.token);
  self.token = plan_.token;
  self.role = Role::launcher;
  self.incarnation = Incarnation(random_bits());
  self.purpose = "control";
  if (const auto own = plan_.certificates.find(kRendezvous); own != plan_.certificates.end())
    self.credentials = std::make_shared<const transport::Certificate>(own->second);
  const transport::Listening where{
      .hosts = listen_, .port = plan_.port != 0 ? plan_.port : at.port, .ports = plan_.ports};
  auto host = RendezvousHost::start(self, where, membership, [this](const Decision& d) { mailbox_->put(d); });
  if (!host.ok())
    return invalid("job.address: cannot listen on " + at.text() + ": " + host.status().message() +
                   "; choose another port, or none");
  rendezvous_ = std::move(*host);
  std::string out;
  for (const std::string& address : rendezvous_->address().hosts)
    out += (out.empty() ? "" : ",") + HostPort{address, rendezvous_->address().port}.text();
  return out;
}

Status LocalCrew::start_members(const std::string& address) {
  if (listen_.empty()) {
    COHAUL_ASSIGN(const HostPort at, parse_host_port(plan_.address).context("job.address"));
    COHAUL_ASSIGN(listen_, own_addresses(at.host).context("job.address"));
  }
  if (plan_.pin) claim();
  for (const MemberKey who : plan_.members) COHAUL_TRY(start_one(who, address));
  return {};
}

/// Binds workers to CPUs of their own, and servers to the others.
void LocalCrew::claim() {
  std::vector<MemberKey> workers, servers;
  for (const MemberKey who : plan_.members) (who.role == Role::worker ? workers : servers).push_back(who);
  const int wanted = plan_.threads > 0 ? plan_.threads : wanted_threads();
  claims_ = claim_cpus(static_cast<int>(workers.size()), wanted, static_cast<int>(servers.size()));
  if (!claims_) return;
  for (std::size_t i = 0; i < workers.size(); ++i) cpus_[workers[i]] = claims_->cpus()[i];
  std::vector<int> others = cpus_of(allowed_cpus());
  std::erase_if(others, [&](int cpu) {
    return std::ranges::any_of(claims_->cpus(), [&](const auto& own) { return std::ranges::count(own, cpu) > 0; });
  });
  for (const MemberKey who : servers) cpus_[who] = others;
}

Status LocalCrew::start_one(MemberKey who, const std::string& address) {
  SpawnOptions spawning;
  Child child{.who = who, .log = "", .exit = {}};
  for (const std::string& word : who.role == Role::server ? plan_.server_command : plan_.worker_command)
    spawning.command.push_back(expand(word));
  COHAUL_TRY(logs_.prepare(who, spawning.stdout_fd, spawning.stderr_fd, child.log));
  spawning.environment = environment_of(who, address, child.log);
  if (const auto own = cpus_.find(who); own != cpus_.end()) spawning.cpus = own->second;
  auto pid = spawn(spawning);
  logs_.started();
  if (!pid.ok()) return pid.status();
  child.pid = *pid;
  children_.push_back(child);
  if (on_started_) on_started_(who, child.pid, child.log);
  return {};
}

std::vector<std::pair<std::string, std::string>> LocalCrew::environment_of(MemberKey who, const std::string& address,
                                                                           const std::string& log) const {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& [name, value] : plan_.environment) out.emplace_back(name, expand(value));
  const auto add = [&](const char* name, std::string value) { out.emplace_back(name, std::move(value)); };
  add(variables::kAddress, address);
  add(variables::kRole, who.role == Role::server ? "server" : "worker");
  add(variables::kRank, std::to_string(who.rank));
  add(variables::kWorkers, std::to_string(plan_.workers));
  add(variables::kServers, std::to_string(plan_.servers));
  add(variables::kToken, std::to_string(plan_.token));
  add(variables::kListen, comma_list(listen_));
  const auto shown = plan_.shown_logs.find(who);
  add(variables::kLog, shown == plan_.shown_logs.end() ? log : shown->second);
  if (const auto own = plan_.certificates.find(who); own != plan_.certificates.end()) {
    add(variables::kTlsCert, texts_.at(text_name(who, "certificate")).path());
    add(variables::kTlsKey, texts_.at(text_name(who, "key")).path());
    add(variables::kTlsCa, texts_.at(text_name(who, "authority")).path());
    add(variables::kTlsJob, own->second.job);
  }
  return out;
}

std::string LocalCrew::expand(std::string text) const {
  constexpr std::string_view kText = "{text:", kOutput = "{output:";
  for (std::size_t at = 0; (at = text.find('{', at)) != std::string::npos; ++at) {
    const bool is_text = text.compare(at, kText.size(), kText) == 0;
    if (!is_text && text.compare(at, kOutput.size(), kOutput) != 0) continue;
    const std::size_t begin = at + (is_text ? kText : kOutput).size(), end = text.find('}', begin);
    if (end == std::string::npos) break;
    const std::string name = text.substr(begin, end - begin);
    const auto found = texts_.find(name);
    const bool is_output = std::find(plan_.outputs.begin(), plan_.outputs.end(), name) != plan_.outputs.end();
    if (is_text ? found == texts_.end() : !is_output) continue;
    text.replace(at, end + 1 - at, is_text ? found->second.path() : outputs_.file(name));
  }
  return text;
}

void LocalCrew::watch(std::vector<pollfd>& descriptors) const {
  descriptors.push_back({mailbox_->fd(), POLLIN, 0});
  descriptors.push_back({logs_.pipe(), POLLIN, 0});
}

std::vector<CrewEvent> LocalCrew::take_events() {
  logs_.pump();
  for (Child& c : children_) {
    if (c.exit) continue;
    c.exit = reap(c.pid);
    if (!c.exit) continue;
    if (c.exit->by_signal && c.exit->code == SIGKILL) c.exit->why = memory_.killed();
    logs_.pump();
    if (rendezvous_) rendezvous_->exited(c.who, *c.exit);
    events_.push_back({.kind = CrewEvent::Kind::exited, .who = c.who, .exit = *c.exit});
  }
  for (Decision& d : mailbox_->take()) events_.push_back({.kind = CrewEvent::Kind::decided, .decision = std::move(d)});
  return std::exchange(events_, {});
}

void LocalCrew::exited_elsewhere(MemberKey who, const ProcessExit& how) {
  if (rendezvous_) rendezvous_->exited(who, how);
}

LocalCrew::Child* LocalCrew::running(MemberKey who) {
  auto it = std::find_if(children_.begin(), children_.end(), [&](const Child& c) { return c.who == who && !c.exit; });
  return it == children_.end() ? nullptr : &*it;
}

void LocalCrew::terminate(MemberKey who) {
  if (const Child* c = running(who)) terminate_group(c->pid);
}

void LocalCrew::kill(MemberKey who) {
  if (const Child* c = running(who)) kill_group(c->pid);
}

void LocalCrew::kill_if_stopped(MemberKey who) {
  if (const Child* c = running(who); c != nullptr && is_stopped(c->pid)) kill_group(c->pid);
}

bool LocalCrew::pass_on(int signal) {
  const Child* const first = running(kFirst);
  return first != nullptr && catches(first->pid, signal) && ::kill(first->pid, signal) == 0;
}

void LocalCrew::ask(int signal) {
  // A process that was started in the background ignores SIGINT, so SIGTERM is tried next.
  const bool taken = pass_on(signal) || (signal == SIGINT && pass_on(SIGTERM));
  events_.push_back({.kind = CrewEvent::Kind::asked, .signal = signal, .taken = taken});
}

std::string LocalCrew::log_of(MemberKey who) const {
  const auto it = std::find_if(children_.begin(), children_.end(), [&](const Child& c) { return c.who == who; });
  return it == children_.end() ? "" : it->log;
}

void LocalCrew::end_now(Child& c) {
  if (c.exit) return;
  kill_group(c.pid);
  while (!(c.exit = reap(c.pid))) ::poll(nullptr, 0, 1);
}

}  // namespace cohaul::job
