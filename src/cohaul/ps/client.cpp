#include "cohaul/ps/client.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

#include "cohaul/base/last_operations.h"
#include "cohaul/job/connect.h"
#include "cohaul/job/cores.h"
#include "cohaul/ps/host_plan.h"
#include "cohaul/ps/outgoing.h"
#include "cohaul/ps/placement.h"
#include "cohaul/ps/server_threads.h"
#include "cohaul/ps/service.h"
#include "cohaul/ps/session.h"
#include "cohaul/transport/endpoint.h"
#include "cohaul/transport/poller.h"

namespace cohaul::ps {
namespace {

constexpr Duration kLookAround = kSecond;

/// The deadline of a wait, and where it comes from.
struct Patience {
  Time since, deadline;
  const char* setting;  // name of the setting with this limit; empty: the caller gave the deadline
};

/// Returns whether a server is on this worker's host, as a thread of a worker or as a process.
bool is_near(const job::Job& job, std::span<const int> hosts, int server) {
  const auto host = [&](int worker) { return hosts[static_cast<std::size_t>(worker)]; };
  if (job.servers() == 0) return host(server % job.world()) == host(job.rank());
  const auto find = [&](job::MemberKey who) {
    return std::ranges::find(job.members(), who, [](const job::Member& m) { return m.key(); });
  };
  const auto self = find({transport::Role::worker, job.rank()}), other = find({transport::Role::server, server});
  return self != job.members().end() && other != job.members().end() && self->host_id == other->host_id;
}

/// Returns the plan of this worker's host. There is none in asynchronous modes, where each worker has all slices of its steps.
std::optional<HostPlan> host_plan(const job::Job& job, const update::Layout& layout, const Init& init,
                                  const Options& options) {
  if (!init.is_sync()) return std::nullopt;
  std::vector<int> hosts = options.hosts;
  if (hosts.empty()) {
    hosts.resize(static_cast<std::size_t>(job.world()));
    std::iota(hosts.begin(), hosts.end(), 0);
  }
  std::vector<bool> near;
  for (int k = 0; k < init.servers; ++k) near.push_back(is_near(job, hosts, k));
  return HostPlan(layout, init.slices, hosts, job.rank(), near);
}

class Client final : public ServerExchange, ToServers, ToHost {
 public:
  Client(job::Job& job, const update::Layout& layout, const Init& init, Bytes parameters, const Options& options)
      : job_(job),
        watch_(options.watch != nullptr ? *options.watch : job),
        init_(init),
        trainer_(options.trainer),
        plan_(host_plan(job, layout, init, options)),
        parameters_(parameters),
        session_(layout, init, WorkerRank(job.rank()), parameters, *this,
                 shares_host() ? std::optional(OnHost{*plan_, *this}) : std::nullopt) {}
  ~Client() override;
  Status connect(const update::Layout& layout, const Options& options);

  Bytes parameters() override { return parameters_; }
  Status start(Time deadline) override;
  Status write(Time deadline) override;
  Status swap_averages(Time deadline) override;
  Status refresh(Time deadline) override;
  Status set_rates(std::span<const double> rates) override;
  Status begin(const update::Work& work, std::string_view facts) override;
  Status push(const update::Gradient& gradient) override;
  Result<update::StepOutcome> finish(std::span<const update::PartEnd> ends) override;
  Status abandon() override;
  std::vector<update::StatePiece> owned() override { return {}; }
  void set_first(std::int64_t updates) override { session_.set_first(updates); }
  std::size_t memory_bytes() const override { return sizeof *this; }
  Status save(const std::string& folder, const std::string& key) override;
  Status look(const std::string& folder, const std::string& mark) override;
  Status restore(const std::string& checkpoint, std::int64_t updates) override;
  Result<std::optional<update::Work>> next(const update::Loop& loop) override;
  Status leave_loop(bool stop) override;
  LoopState loop() const override;
  std::vector<ToldUpdate> take_updates() override { return std::exchange(session_.updates(), {}); }
  Result<Counts> counts() override;
  Status close() override;

 private:
  struct Link {
    std::unique_ptr<transport::Channel> channel;
    std::unique_ptr<Outgoing> outgoing;
  };
  struct Mate {  // another worker of this host
    WorkerRank rank;
    std::unique_ptr<transport::Channel> channel;  // null: it is gone
    std::unique_ptr<Outgoing> outgoing;
    Status gone{};
  };
  /// Returns whether the servers are threads of the workers, because no server processes were launched.
  bool own_threads() const { return job_.servers() == 0; }
  std::string named(ServerRank server) const;
  bool is_sync() const { return init_.is_sync(); }
  bool shares_host() const { return plan_ && plan_->is_needed(); }
  Patience until(Time deadline) const { return {poller_->clock().now(), deadline, ""}; }
  Patience of_step() const;
  void send(ServerRank to, const transport::Message& message) override;
  void send(WorkerRank to, const transport::Message& message) override;
  Status link(const std::string& at, transport::Form form, std::uint64_t model, Time deadline);
  Status connect_host(const Options& options, std::uint64_t model, Time deadline);
  /// Handles the messages that have come. Returns whether there were any.
  Result<bool> receive();
  Result<bool> receive_from_host();
  void part(Mate& mate, Status why);
  Status host_is_here();
  Status lost(ServerRank server, const Status& why);
  Result<bool> flush();
  bool flush_host();
  Status settle(const Patience& patience);
  Status flush_all(const Patience& patience);
  Status wait(const Patience& patience);
  Status between_steps(const char* what);
  Status fail(Status why);

  job::Job& job_;
  Watch& watch_;
  const Init init_;
  const int trainer_;
  const std::optional<HostPlan> plan_;
  const Bytes parameters_;
  std::shared_ptr<ServerThreads> threads_;  // the job waits for them when it closes, once all workers are connected
  std::unique_ptr<transport::Poller> poller_;
  std::vector<Link> links_;  // by server
  std::vector<Mate> mates_;
  Session session_;
  bool may_part_ = false;        // connected, and goodbye has not been said
  std::int64_t step_ = 0;        // the last step that was begun
  std::int64_t over_ = -1;       // number of the last loop that has ended at this worker
  std::int64_t steps_done_ = 0;  // synchronous
  LoopState loop_;               // synchronous; in asynchronous modes only its number is used
  Status failure_;
};

Client::~Client() {
  if (may_part_ && failure_.ok() && !session_.busy() && !session_.is_amid_step()) {
    session_.goodbye();
    (void)flush().ok();  // what cannot be sent now need not be: the closed channel tells the servers as much
  }
  if (poller_) job_.forget(poller_.get());
  for (Link& link : links_) {
    if (link.channel) poller_->remove(*link.channel);
  }
  for (Mate& mate : mates_) {
    if (mate.channel) poller_->remove(*mate.channel);
  }
  links_.clear();
}

std::string Client::named(ServerRank server) const {
  std::string name = "server " + std::to_string(server.value);
  return own_threads() ? name + ", a thread of worker " + std::to_string(server.value % init_.workers) : name;
}

Patience Client::of_step() const {
  const Time now = poller_->clock().now();
  return {now, now + seconds(job_.options().step_timeout_s), " (job.step_timeout_s)"};
}

Status Client::connect(const update::Layout& layout, const Options& options) {
  threads_ = std::make_shared<ServerThreads>();
  for (int k = job_.rank(); own_threads() && k < init_.servers; k += job_.world()) {
    COHAUL_TRY(threads_->start(job_, ServerRank(k), trainer_).context("start " + named(ServerRank(k))));
  }
  COHAUL_ASSIGN(poller_, transport::make_poller());
  poller_->set_spin(own_threads() ? 0 : job::default_spin(job_));
  job_.wake_on_loss(poller_.get());
  Time deadline = poller_->clock().now() + seconds(job_.options().join_timeout_s);
  const std::string prefix = own_threads() ? address_prefix(trainer_) : address_prefix();
  const auto addresses = job_.gather(prefix, init_.servers, false, deadline);
  if (!addresses.ok()) return fail(addresses.status().context("find the servers"));
  for (int k = 0; k < init_.servers; ++k) {
    note_operation("connect to server", k);
    Status linked = link((*addresses)[k], job_.options().transport, layout.hash(), deadline);
    if (!linked.ok()) return fail(linked.context("connect to " + named(ServerRank(k))));
    for (const transport::Arena* arena : options.lend) COHAUL_TRY(links_.back().channel->lend(*arena));
  }
  if (shares_host()) {
    Status connected = connect_host(options, layout.hash(), deadline);
    if (!connected.ok()) return fail(connected);
  }
  may_part_ = true;
  if (own_threads()) {
    job_.at_close([&job = job_, threads = threads_, patience = seconds(job_.options().step_timeout_s)] {
      Waiting waiting(job);
      return threads->wait_for_all(steady_clock().now() + patience);
    });
  }
  return {};
}

Status Client::link(const std::string& at, transport::Form form, std::uint64_t model, Time deadline) {
  COHAUL_ASSIGN(transport::Address address, transport::Address::decode(at));
  Link& link = links_.emplace_back();
  COHAUL_ASSIGN(link.channel, transport::connect(address, job_.identity(purpose_of(trainer_), model), form, deadline));
  COHAUL_TRY(poller_->add(*link.channel));
  link.outgoing = std::make_unique<Outgoing>(*link.channel);
  link.channel->set_place([this](std::uint16_t kind, std::int64_t clock, std::uint64_t key, std::uint64_t length) {
    return session_.place(kind, clock, key, length);
  });
  return {};
}

/// Connects to the other workers of this host. Parameters are sent as bytes, because a worker may overwrite its own as soon as its step is over.
Status Client::connect_host(const Options& options, std::uint64_t model, Time deadline) {
  note_operation("connect to the workers of this host");
  const std::string purpose = purpose_of(trainer_) + " on the host of worker " + std::to_string(plan_->workers.front());
  COHAUL_ASSIGN(auto channels, job::connect_workers(job_, *poller_, purpose, model, deadline, plan_->workers));
  for (std::size_t w = 0; w < channels.size(); ++w) {
    if (!channels[w]) continue;
    if (!channels[w]->shares_memory())
      return invalid("worker " + std::to_string(w) +
                     " does not share memory with this one: job.transport must be the same at all workers");
    Mate& mate = mates_.emplace_back(WorkerRank(static_cast<std::int32_t>(w)), std::move(channels[w]), nullptr);
    mate.outgoing = std::make_unique<Outgoing>(*mate.channel);
    for (const transport::Arena* arena : options.lend) COHAUL_TRY(mate.channel->lend(*arena));
  }
  return {};
}

Status Client::fail(Status why) {
  if (failure_.ok()) failure_ = std::move(why);
  return failure_;
}

void Client::send(ServerRank to, const transport::Message& message) {
  if (!failure_.ok()) return;
  Status sent = links_[to.value].outgoing->send(message);
  if (!sent.ok()) (void)fail(sent.context("send to " + named(to)));
}

void Client::send(WorkerRank to, const transport::Message& message) {
  const auto mate = std::ranges::find(mates_, to, &Mate::rank);
  if (!failure_.ok() || !mate->channel) return;
  if (Status sent = mate->outgoing->send(message); !sent.ok()) part(*mate, sent);
}

/// Handles that another worker's channel has closed. That is no error by itself: a worker may leave before the others when it has done its steps.
void Client::part(Mate& mate, Status why) {
  poller_->remove(*mate.channel);
  mate.channel.reset();
  mate.gone = std::move(why);
}

/// Returns an error if a worker of this host is gone and this one needs it to continue. If a server has reported the reason before, that is returned.
Status Client::host_is_here() {
  for (const Mate& mate : mates_) {
    if (mate.channel || !session_.waits_for(mate.rank)) continue;
    if (Status health = watch_.health(); !health.ok()) return fail(health);
    return fail(mate.gone.context("waiting for " + session_.missing()));
  }
  return {};
}

Result<bool> Client::receive_from_host() {
  bool some = false;
  for (Mate& mate : mates_) {
    while (mate.channel) {
      Result<std::optional<transport::Frame>> frame = mate.channel->receive();
      if (!frame.ok()) {
        part(mate, frame.status());
        break;
      }
      if (!frame->has_value()) break;
      some = true;
      if (Status taken = session_.on_host_frame(mate.rank, std::move(**frame)); !taken.ok()) return fail(taken);
    }
  }
  return some;
}

/// Returns the error of a lost server. The channel's error names the server; this adds in which worker it runs. If the job knows of a loss, that one
/// is returned, since a server also ends because of a loss elsewhere.
Status Client::lost(ServerRank server, const Status& why) {
  if (Status health = watch_.health(); !health.ok()) return fail(health);
  return fail((own_threads() ? why.context(named(server)) : why).context("waiting for " + session_.missing()));
}

Result<bool> Client::receive() {
  COHAUL_ASSIGN(bool some, receive_from_host());
  for (std::size_t k = 0; k < links_.size(); ++k) {
    ServerRank server(static_cast<std::int32_t>(k));
    for (;;) {
      Result<std::optional<transport::Frame>> frame = links_[k].channel->receive();
      if (!frame.ok()) return lost(server, frame.status());
      if (!frame->has_value()) break;
      some = true;
      if (Status taken = session_.on_frame(server, std::move(**frame)); !taken.ok()) return fail(taken);
    }
  }
  if (!failure_.ok()) return failure_;
  return some;
}

Result<bool> Client::flush() {
  bool all = true;
  for (std::size_t k = 0; k < links_.size(); ++k) {
    Result<bool> sent = links_[k].outgoing->flush();
    if (!sent.ok()) return fail(sent.status().context("send to " + named(ServerRank(static_cast<std::int32_t>(k)))));
    all &= *sent;
  }
  return all;
}

bool Client::flush_host() {
  bool all = true;
  for (Mate& mate : mates_) {
    if (!mate.channel) continue;
    Result<bool> sent = mate.outgoing->flush();
    if (!sent.ok()) part(mate, sent.status());
    else all &= *sent;
  }
  return all;
}

/// Blocks until the session has all answers that it waits for, and everything that it passes on to its host is sent.
Status Client::settle(const Patience& patience) {
  if (!failure_.ok()) return failure_;
  Waiting waiting(watch_);
  for (;;) {
    const bool passed_on = flush_host();
    if (passed_on && !session_.busy()) return {};
    COHAUL_ASSIGN(const bool some, receive());
    COHAUL_ASSIGN([[maybe_unused]] bool all, flush());
    if (some || !session_.busy()) continue;
    COHAUL_TRY(host_is_here());
    COHAUL_TRY(wait(patience));
  }
}

Status Client::wait(const Patience& patience) {
  if (Status health = watch_.health(); !health.ok()) return fail(health);
  Time now = poller_->clock().now();
  if (now >= patience.deadline) {
    if (Status lost = watch_.overdue(now - patience.since); !lost.ok()) return fail(lost);
    return fail(peer_lost(std::string("no answer before the deadline") + patience.setting +
                          "; still missing: " + session_.missing()));
  }
  Status waited = poller_->wait(std::min(patience.deadline, now + kLookAround));
  return waited.ok() ? waited : fail(waited);
}

Status Client::start(Time deadline) {
  if (!failure_.ok()) return failure_;
  note_operation("pull the initial parameters");
  session_.start();
  return settle(until(deadline)).context("start");
}

Status Client::between_steps(const char* what) {
  if (!failure_.ok()) return failure_;
  if (session_.has_step()) return fail(invalid(std::string(what) + " within a step: finish or abandon it before"));
  return {};
}

Status Client::write(Time deadline) {
  if (job_.rank() != 0) return refresh(deadline);
  COHAUL_TRY(between_steps("new parameters"));
  note_operation("give the servers new parameters");
  session_.assign();
  return settle(until(deadline)).context("write parameters");
}

Status Client::swap_averages(Time deadline) {
  if (job_.rank() != 0) return refresh(deadline);
  COHAUL_TRY(between_steps("averages"));
  note_operation("swap parameters and averages");
  session_.swap_averages();
  COHAUL_TRY(settle(until(deadline)).context("swap parameters and averages"));
  return refresh(deadline);
}

Status Client::refresh(Time deadline) {
  COHAUL_TRY(between_steps("a pull"));
  note_operation("pull the parameters");
  session_.refresh();
  return settle(until(deadline)).context("pull parameters");
}

Result<std::optional<update::Work>> Client::next(const update::Loop& loop) {
  COHAUL_TRY(between_steps("the next step"));
  if (loop.number == over_) return std::optional<update::Work>();
  if (is_sync()) {
    loop_ = {loop.number, loop.first, loop.end, steps_done_};
    if (steps_done_ >= loop.end) return std::optional<update::Work>();
    return std::optional(update::Work{Step(steps_done_), plan_->slices[static_cast<std::size_t>(job_.rank())]});
  }
  note_operation("ask for a step after pushes", session_.clock());
  loop_.loop = loop.number;
  if (Status asked = session_.ask(loop); !asked.ok()) return fail(asked);
  COHAUL_TRY(settle(of_step()).context("ask for the next step"));
  if (session_.granted()) return std::optional(update::Work{*session_.granted(), {0, init_.slices, init_.slices}});
  over_ = loop.number;
  return std::optional<update::Work>();
}

Status Client::leave_loop(bool stop) {
  COHAUL_TRY(between_steps("a loop is left"));
  if (loop_.loop < 0 || (is_sync() && loop_.loop == over_)) return {};
  over_ = loop_.loop;
  loop_.end = std::min(loop_.end, std::max(steps_done_, loop_.first));
  if (is_sync()) return {};
  note_operation("leave the loop", loop_.loop);
  session_.leave_loop(loop_.loop, stop);
  return settle(of_step()).context("leave the loop");
}

LoopState Client::loop() const {
  if (!is_sync()) return session_.loop();
  LoopState state = loop_;
  state.updates_done = steps_done_;
  return state;
}

Status Client::set_rates(std::span<const double> rates) {
  COHAUL_TRY(between_steps("new learning rates"));
  session_.set_rates(rates);
  COHAUL_ASSIGN([[maybe_unused]] bool all, flush());
  return failure_;
}

Status Client::begin(const update::Work& work, std::string_view facts) {
  if (!failure_.ok()) return failure_;
  step_ = work.step.value;
  Status begun = session_.begin(work, facts);
  return begun.ok() ? begun : fail(begun);
}

Status Client::push(const update::Gradient& gradient) {
  if (!failure_.ok()) return failure_;
  note_operation("push bucket in step", gradient.bucket, step_);
  // Sums gradients of the host while backward is running.
  COHAUL_ASSIGN([[maybe_unused]] bool some, receive_from_host());
  if (Status pushed = session_.push(gradient); !pushed.ok()) return fail(pushed);
  (void)flush_host();
  COHAUL_ASSIGN([[maybe_unused]] bool all, flush());
  return failure_;
}

Result<update::StepOutcome> Client::finish(std::span<const update::PartEnd> ends) {
  if (!failure_.ok()) return failure_;
  note_operation("wait for the servers in step", step_);
  if (Status finished = session_.finish(ends); !finished.ok()) return fail(finished);
  if (Status settled = settle(of_step()); !settled.ok()) {
    // A mistake of the user names the place by itself.
    return settled.code() == Code::invalid ? settled : settled.context("step " + std::to_string(step_));
  }
  steps_done_ = step_ + 1;
  return session_.outcome();
}

Status Client::abandon() {
  if (!failure_.ok()) return failure_;
  Status given_up = session_.abandon();
  return given_up.ok() ? given_up : fail(given_up);
}

Status Client::save(const std::string& folder, const std::string& key) {
  COHAUL_TRY(between_steps("a checkpoint"));
  note_operation("let the servers write a checkpoint");
  session_.save({folder, key, {}});
  return settle(of_step()).context("write a checkpoint");
}

Status Client::look(const std::string& folder, const std::string& mark) {
  COHAUL_TRY(between_steps("a look at a folder"));
  session_.save({folder, {}, mark});
  return settle(of_step()).context("look at the folder of checkpoints");
}

Status Client::restore(const std::string& checkpoint, std::int64_t updates) {
  COHAUL_TRY(between_steps("a resume"));
  note_operation("let the servers read a checkpoint");
  session_.restore(checkpoint, updates);
  return settle(of_step()).context("read a checkpoint");
}

Result<Counts> Client::counts() {
  COHAUL_TRY(between_steps("a question for counts"));
  note_operation("ask the servers for their counts");
  session_.ask_stats();
  COHAUL_TRY(settle(of_step()).context("ask for counts"));
  return Counts{session_.tables(), session_.coordinator()};
}

Status Client::flush_all(const Patience& patience) {
  Waiting waiting(watch_);
  for (;;) {
    COHAUL_ASSIGN(bool all, flush());
    if (all) return {};
    COHAUL_TRY(wait(patience));
  }
}

Status Client::close() {
  if (!failure_.ok()) return failure_;
  if (!std::exchange(may_part_, false)) return {};
  note_operation("say goodbye to the servers");
  session_.goodbye();
  return flush_all(of_step()).context("goodbye");
}

Status check(const job::Job& job, const update::OptimizerSettings& optimizer, const Options& options) {
  COHAUL_TRY(optimizer.check());
  if (options.servers < 1 || options.servers > kServersMax) {
    return invalid("strategy.servers is " + std::to_string(options.servers) + ": give a number from 1 to " +
                   std::to_string(kServersMax));
  }
  if (job.servers() != 0 && job.servers() != options.servers) {
    return invalid("the job was launched with " + std::to_string(job.servers()) + " servers, the strategy asks for " +
                   std::to_string(options.servers) + ": make them equal");
  }
  COHAUL_TRY(options.policy.check());
  if (options.policy.watch_every > 0 && options.consistency.kind != Consistency::Kind::sync)
    return invalid("watch_gradients is about steps of all workers, which asynchronous modes do not have");
  if (options.trainer < 0) return invalid("a trainer's number is below 0");
  if (options.consistency.staleness < 0) return invalid("strategy.staleness is below 0");
  const bool sync = options.consistency.kind == Consistency::Kind::sync;
  const int least = sync ? job.world() : 1;
  if (options.slices < least || options.slices > update::kSlicesMax) {
    return invalid("train.slices is " + std::to_string(options.slices) + ": give a number from " +
                   std::to_string(least) + (sync ? ", one for each worker," : "") + " to " +
                   std::to_string(update::kSlicesMax));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<ServerExchange>> make_server_exchange(job::Job& job, const update::Layout& layout,
                                                             const update::OptimizerSettings& optimizer,
                                                             Bytes parameters, const Options& options) {
  COHAUL_TRY(check(job, optimizer, options));
  if (parameters.size() != layout.bytes()) return invalid("the flat area is not as long as the layout says");
  Init init{.consistency = options.consistency,
            .optimizer = optimizer,
            .policy = options.policy,
            .workers = job.world(),
            .servers = options.servers,
            .slices = options.slices,
            .layout_hash = layout.hash()};
  auto client = std::make_unique<Client>(job, layout, init, parameters, options);
  COHAUL_TRY(client->connect(layout, options));
  return std::unique_ptr<ServerExchange>(std::move(client));
}

}  // namespace cohaul::ps
