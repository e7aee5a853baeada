#include "cohaul/job/job.h"

#include <algorithm>

#include "cohaul/base/last_operations.h"
#include "cohaul/job/control_client.h"
#include "cohaul/job/host_port.h"
#include "cohaul/job/host_proof.h"
#include "cohaul/job/job_id.h"
#include "cohaul/job/local_job.h"
#include "cohaul/job/rendezvous_host.h"

namespace cohaul::job {
namespace {

using transport::Role;

std::int64_t milliseconds_until(Time deadline) {
  // Capped, so that "forever" stays a number that can be added to.
  return std::clamp<std::int64_t>((deadline - steady_clock().now()) / kMillisecond, 0, std::int64_t{1} << 40);
}

/// A job of several processes, which learns through the rendezvous.
class ConnectedJob final : public JobBase {
 public:
  ConnectedJob(const JoinOptions& options, const transport::Identity& self, std::unique_ptr<RendezvousHost> host,
               std::unique_ptr<ControlClient> client, Welcome welcome)
      : JobBase(options, self, std::move(welcome)), host_(std::move(host)), client_(std::move(client)) {}

  ~ConnectedJob() override {
    forget_last_words();
    client_.reset();  // before the host, if it is ours
  }

  Status set(const std::string& key, const std::string& value) override {
    ControlMessage m;
    m.kind = ControlKind::set;
    m.key = key;
    m.value = value;
    if (value.size() > kValueBytesMax || key.size() > kKeyBytesMax)
      return invalid("the store's value '" + key + "' is over 1 MB");
    return call(std::move(m), steady_clock().now() + seconds(options().peer_timeout_s)).status();
  }

  Result<std::string> get(const std::string& key, Time deadline) override {
    ControlMessage m;
    m.kind = ControlKind::get;
    m.key = key;
    return call(std::move(m), deadline);
  }

  Result<std::string> get_from(int worker, const std::string& key, Time deadline) override {
    ControlMessage m;
    m.kind = ControlKind::get;
    m.key = key;
    m.number = static_cast<std::uint64_t>(worker) + 1;
    return call(std::move(m), deadline);
  }

  Result<std::vector<std::string>> gather(const std::string& prefix, int count, bool by_workers,
                                          Time deadline) override {
    ControlMessage m;
    m.kind = ControlKind::gather;
    m.key = prefix;
    m.number = static_cast<std::uint64_t>(count);
    m.value = by_workers ? kSetByWorkers : kSetByAnyone;
    COHAUL_ASSIGN(const std::string values, call(std::move(m), deadline));
    return decode_values(values);
  }

  Status meet(const Meeting& meeting, Time deadline) override {
    COHAUL_TRY(check(meeting));
    if (world() == 1) return {};
    note_operation("wait at meeting", meeting.number);
    ControlMessage m;
    m.kind = ControlKind::meet;
    m.value = encode_meeting(meeting);
    Status met = call(std::move(m), deadline).status();
    if (met.ok()) client_->met(meeting);
    return met;
  }
  void attend(const Meeting& meeting) override {
    if (!client_ || !check(meeting).ok()) return;
    ControlMessage m;
    m.kind = ControlKind::meet;
    m.value = encode_meeting(meeting);
    m.timeout_ms = milliseconds_until(kForever);
    client_->post(std::move(m));
  }
  Status absent(const std::string& group, std::int64_t meetings, std::int64_t step) const override {
    return client_ ? client_->absent(group, meetings, step) : Status{};
  }
  Status left(int worker) const override { return client_ ? client_->left(worker) : Status{}; }

  Status barrier(const std::string& name, int count, Time deadline) override {
    note_operation("barrier of", count);
    ControlMessage m;
    m.kind = ControlKind::barrier;
    m.key = name;
    m.number = static_cast<std::uint64_t>(count);
    return call(std::move(m), deadline).status();
  }

  Status health() const override { return client_ ? client_->health() : Status{}; }
  bool set_waiting(bool waiting) override {
    if (client_) client_->set_waiting(waiting);
    return JobBase::set_waiting(waiting);
  }
  Status overdue(Duration waited) override {
    if (!client_) return {};
    ControlMessage m;
    m.kind = ControlKind::overdue;
    m.number = static_cast<std::uint64_t>(waited / kMillisecond);
    Status told = call(std::move(m), steady_clock().now() + kSecond).status();
    Status lost = health();
    return lost.ok() ? told : lost;
  }
  void wake_on_loss(transport::Poller* poller) override {
    if (client_) client_->wake_on_loss(poller);
  }
  void forget(transport::Poller* poller) override {
    if (client_) client_->forget(poller);
  }

  void report_failure(const Status& why) override {
    if (why.ok() || !client_) return;
    ControlMessage m;
    m.kind = ControlKind::failed;
    m.number = static_cast<std::uint64_t>(why.code());
    m.value = why.message().substr(0, 4096);
    m.key = last_operation().substr(0, kKeyBytesMax);
    // A failure is ignored: the end of the connection tells the others, too.
    (void)call(std::move(m), steady_clock().now() + 500 * kMillisecond).ok();
  }

  Status commit() override {
    ControlMessage m;
    m.kind = ControlKind::commit;
    return call(std::move(m), steady_clock().now() + seconds(options().peer_timeout_s)).status();
  }

  Status close() override {
    if (!client_) return {};
    COHAUL_TRY(say_last_words());
    ControlMessage m;
    m.kind = ControlKind::leave;
    Status status = call(std::move(m), steady_clock().now() + seconds(options().peer_timeout_s)).status();
    client_.reset();
    if (host_) {
      // The others need this process's rendezvous until they have said goodbye.
      if (status.ok()) host_->wait_until_left(steady_clock().now() + seconds(options().step_timeout_s));
      host_.reset();
    }
    drop_lent();
    return status.context("close the job");
  }

 private:
  Result<std::string> call(ControlMessage m, Time deadline) {
    if (!client_) return invalid("the job is closed");
    m.timeout_ms = milliseconds_until(deadline);
    Waiting waiting(*this);
    return client_->call(std::move(m));
  }

  std::unique_ptr<RendezvousHost> host_;
  std::unique_ptr<ControlClient> client_;
};

Status check(const JoinOptions& o) {
  int of = o.role == Role::worker ? o.world : o.servers;
  if (o.world < 1) return invalid("a job needs at least 1 worker, not " + std::to_string(o.world));
  if (o.servers < 0) return invalid("a job cannot have " + std::to_string(o.servers) + " servers");
  if (o.role != Role::worker && o.role != Role::server) return invalid("only workers and servers join a job");
  if (o.rank < 0 || o.rank >= of) {
    return invalid("rank " + std::to_string(o.rank) + " of " + std::to_string(of) +
                   (o.role == Role::worker ? " workers" : " servers") + ": ranks are 0 … " + std::to_string(of - 1));
  }
  if (o.address.empty() && (o.world > 1 || o.servers > 0)) {
    return invalid("a job of several processes needs the address (host:port) where they meet");
  }
  if (!o.address.empty() && !o.launched && !o.plaintext && o.secret.empty() && o.certificate == nullptr &&
      !all_loopback(o.listen)) {
    return invalid("this job's processes are on several hosts (this one listens on " + comma_list(o.listen) +
                   "), and share no secret, so anybody in the network could read and change what they send: run "
                   "`cohaul secret` once, where all "
                   "hosts see the same home, or give job.secret, COHAUL_SECRET or certificates (job.tls_cert); where "
                   "you trust the network, say so "
                   "by job.plaintext = true or COHAUL_PLAINTEXT=1; "
                   "if all are on this host, let them meet at 127.0.0.1");
  }
  return {};
}

/// The address at which the job's processes meet.
struct MeetingPoint {
  std::string text;                    // as it was given
  std::vector<std::string> hosts{};    // numeric
  std::vector<std::uint16_t> ports{};  // one of these
  bool has_port = false;               // the address says it
};

/// Returns it. Blocks until the host's name is known, or the deadline.
Result<MeetingPoint> meeting_point(const JoinOptions& options, Time deadline) {
  MeetingPoint out{.text = options.address};
  std::uint16_t port = 0;
  for (const std::string& address : split_hosts(options.address)) {
    COHAUL_ASSIGN(const HostPort at, parse_host_port(address).context("the job's address"));
    COHAUL_ASSIGN(const std::vector<std::string> found, resolve(at.host, deadline).context("the job's address"));
    out.hosts.insert(out.hosts.end(), found.begin(), found.end());
    port = at.port;
  }
  out.has_port = port != 0;
  if (options.port != 0 && !options.launched) port = options.port;
  if (port == 0 && options.run_name.empty())
    return invalid("the job's address '" + options.address + "' has no port: write host:port");
  out.ports = port != 0 ? std::vector{port} : ports_of(options.run_name);
  return out;
}

/// Returns the hosts at which worker 0 listens for others. Its host's name may mean loopback here and another address
/// elsewhere, or one of several networks; then it listens on all.
std::vector<std::string> listening_hosts(const JoinOptions& options, const MeetingPoint& at) {
  const bool elsewhere = !all_loopback(options.listen);
  const bool any = elsewhere && (!at.has_port || is_loopback(at.hosts.front()));
  return any ? std::vector<std::string>{"::", "0.0.0.0"} : std::vector{at.hosts.front()};
}

/// Starts the rendezvous at the first port that is free. The second host is for machines that lack the first.
Result<std::unique_ptr<RendezvousHost>> start_host(const transport::Identity& self,
                                                   const std::vector<std::string>& hosts,
                                                   const std::vector<std::uint16_t>& ports,
                                                   const Membership::Options& options) {
  Status failed;
  for (const std::uint16_t port : ports) {
    for (const std::string& host : hosts) {
      auto started = RendezvousHost::start(self, {.hosts = {host}, .port = port}, options);
      if (started.ok()) return started;
      failed = started.status();
      if (failed.code() == Code::unavailable) break;  // the port is taken
    }
    if (failed.code() != Code::unavailable) break;
  }
  return invalid(failed.message() +
                 (ports.size() > 1
                      ? "; so are the others that follow from the run's name; set COHAUL_JOB to another name"
                      : "; choose another port (MASTER_PORT)"));
}

std::vector<Member> fellows_of(const std::string& host_id, std::vector<Member> members) {
  std::erase_if(members, [&](const Member& m) { return m.host_id != host_id; });
  return members;
}

Result<std::unique_ptr<Job>> join_others(const JoinOptions& options) {
  Time deadline = steady_clock().now() + seconds(options.join_timeout_s);
  COHAUL_ASSIGN(const MeetingPoint at, meeting_point(options, deadline));
  transport::Identity self = control_identity(options);
  MemberKey host_key = options.launched ? MemberKey{Role::launcher, 0} : MemberKey{Role::worker, 0};
  std::unique_ptr<RendezvousHost> host;
  if (!options.launched && options.role == Role::worker && options.rank == 0) {
    Membership::Options membership;
    membership.workers = options.world;
    membership.servers = options.servers;
    membership.peer_timeout = seconds(options.peer_timeout_s);
    membership.join_timeout = seconds(options.join_timeout_s);
    membership.host = host_key;
    transport::Identity of_host = self;
    of_host.role = Role::launcher;
    COHAUL_ASSIGN(host, start_host(of_host, listening_hosts(options, at), at.ports, membership)
                            .context("worker 0: the job's address " + at.text));
  }

  ControlClient::Options client_options;
  for (const std::uint16_t port : at.ports) client_options.rendezvous.push_back({"", at.hosts, port});
  client_options.self = self;
  client_options.session = {.host = host_key, .peer_timeout = seconds(options.peer_timeout_s)};
  client_options.engine = options.engine;
  // Cohaul's launcher listened before it started this process. If it does not answer now, it has stopped.
  const Time answered_by =
      options.launched ? std::min(deadline, steady_clock().now() + client_options.session.peer_timeout) : deadline;
  auto connected = ControlClient::connect(client_options, answered_by);
  if (!connected.ok()) return connected.status().context("join the job at " + at.text);
  std::unique_ptr<ControlClient> client = std::move(*connected);

  const HostProof host_proof = HostProof::of(self);
  ControlMessage join = make_join(this_member(options, self.incarnation, host_proof.host_id()), options.world);
  join.timeout_ms =
      milliseconds_until(deadline) + 1000;  // the rendezvous knows who is missing, so its answer comes first
  auto answer = client->call(std::move(join));
  if (!answer.ok()) {
    const std::string refused = host ? host->last_refusal() : "";
    const Status& why = answer.status();
    return Status(why.code(),
                  std::string(why.message()) + (refused.empty() ? "" : "; the last that was refused: " + refused))
        .context("join the job at " + at.text);
  }
  COHAUL_ASSIGN(Welcome welcome, decode_welcome(*answer));
  note_operation("joined");
  client->set_waiting(false);
  if (!options.launched) client->set_fellows(fellows_of(host_proof.host_id(), welcome.members));
  // All have joined, so no process asks any more which host this is.
  return std::unique_ptr<Job>(new ConnectedJob(options, self, std::move(host), std::move(client), std::move(welcome)));
}

}  // namespace

Result<std::unique_ptr<Job>> Job::join(const JoinOptions& given) {
  note_operation("join");
  JoinOptions options = given;
  options.listen.clear();
  Status unknown;
  for (const std::string& where : given.listen) {
    const auto own = own_addresses(where);
    if (!own.ok()) unknown = own.status();
    const std::vector<std::string>& added = own.ok() ? *own : std::vector{where};
    options.listen.insert(options.listen.end(), added.begin(), added.end());
  }
  COHAUL_TRY(check(options));
  COHAUL_TRY(unknown.context("where this process is to listen"));
  if (options.address.empty()) return make_local_job(options);
  return join_others(options);
}

}  // namespace cohaul::job
