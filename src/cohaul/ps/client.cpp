#include "cohaul/ps/client.h"

#include <algorithm>
#include <string>
#include <utility>

#include "cohaul/base/last_operations.h"
#include "cohaul/job/cores.h"
#include "cohaul/ps/outgoing.h"
#include "cohaul/ps/placement.h"
#include "cohaul/ps/server_threads.h"
#include "cohaul/ps/session.h"
#include "cohaul/transport/endpoint.h"
#include "cohaul/transport/poller.h"

namespace cohaul::ps {
namespace {

constexpr Duration kLookAround = kSecond;

class Client final : public ServerExchange, ToServers {
 public:
  Client(job::Job& job, const update::Layout& layout, const Init& init, Bytes parameters)
      : job_(job),
        init_(init),
        parameters_(parameters),
        session_(layout, init, WorkerRank(job.rank()), parameters, *this) {}
  ~Client() override;
  Status connect(const update::Layout& layout, const Options& options);

  Bytes parameters() override { return parameters_; }
  Status start(Time deadline) override;
  Status begin(const update::Work& work, const update::StepSettings& settings) override;
  Status push(std::int32_t run, ConstBytes gradient, std::span<const std::int32_t> absent) override;
  Result<update::StepOutcome> finish(double loss) override;
  std::size_t memory_bytes() const override { return sizeof *this; }
  Result<std::optional<update::Work>> next(const update::Loop& loop) override;
  std::vector<ToldUpdate> take_updates() override { return std::exchange(session_.updates(), {}); }
  Result<Counts> counts() override;
  Status close() override;

 private:
  struct Link {
    std::unique_ptr<transport::Channel> channel;
    std::unique_ptr<Outgoing> outgoing;
  };
  /// Of the workers, which share the servers evenly: no server processes were launched.
  bool own_threads() const;
  std::string named(ServerRank server) const;
  bool is_sync() const { return init_.consistency.kind == Consistency::Kind::sync; }
  Time step_deadline() const { return poller_->clock().now() + seconds(job_.options().step_timeout_s); }
  void send(ServerRank to, const transport::Message& message) override;
  Status link(const std::string& key, transport::Form form, std::uint64_t model, Time deadline);
  /// Receives what has come. True: something had.
  Result<bool> receive();
  Status lost(ServerRank server, const Status& why);
  Result<bool> flush();
  Status settle(Time deadline);
  Status flush_all(Time deadline);
  Status wait(Time deadline);
  Status fail(Status why);

  job::Job& job_;
  const Init init_;
  const Bytes parameters_;
  ServerThreads threads_;
  std::unique_ptr<transport::Poller> poller_;
  std::vector<Link> links_;  // by server
  Session session_;
  std::int64_t step_ = 0;  // synchronous: the next one
  Status failure_;
};

Client::~Client() {
  if (poller_) job_.forget(poller_.get());
  for (Link& link : links_) {
    if (link.channel) poller_->remove(*link.channel);
  }
  links_.clear();
}

bool Client::own_threads() const { return job_.servers() == 0; }

std::string Client::named(ServerRank server) const {
  std::string name = "server " + std::to_string(server.value);
  return own_threads() ? name + ", a thread of worker " + std::to_string(server.value % init_.workers) : name;
}

Status Client::connect(const update::Layout& layout, const Options& options) {
  for (int k = job_.rank(); own_threads() && k < init_.servers; k += job_.world()) {
    COHAUL_TRY(threads_.start(job_, ServerRank(k), options.trainer).context("start " + named(ServerRank(k))));
  }
  COHAUL_ASSIGN(poller_, transport::make_poller());
  poller_->set_spin(own_threads() ? 0 : job::default_spin(job_));
  job_.wake_on_loss(poller_.get());
  Time deadline = poller_->clock().now() + seconds(job_.options().join_timeout_s);
  for (int k = 0; k < init_.servers; ++k) {
    note_operation("connect to server", k);
    Status linked =
        link(address_key(ServerRank(k), options.trainer), job_.options().transport, layout.hash(), deadline);
    if (!linked.ok()) return fail(linked.context("connect to " + named(ServerRank(k))));
    for (const transport::Arena* arena : options.lend) COHAUL_TRY(links_.back().channel->lend(*arena));
  }
  return {};
}

Status Client::link(const std::string& key, transport::Form form, std::uint64_t model, Time deadline) {
  COHAUL_ASSIGN(std::string text, job_.get(key, deadline));
  COHAUL_ASSIGN(transport::Address address, transport::Address::decode(text));
  Link& link = links_.emplace_back();
  COHAUL_ASSIGN(link.channel, transport::connect(address, job_.identity("ps", model), form, deadline));
  COHAUL_TRY(poller_->add(*link.channel));
  link.outgoing = std::make_unique<Outgoing>(*link.channel);
  link.channel->set_place([this](std::uint16_t kind, std::int64_t, std::uint64_t key, std::uint64_t length) {
    return session_.place(kind, key, length);
  });
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

/// A channel names its peer, but not where that lives.
Status Client::lost(ServerRank server, const Status& why) {
  return fail((own_threads() ? why.context(named(server)) : why).context("waiting for " + session_.missing()));
}

Result<bool> Client::receive() {
  bool some = false;
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

/// Until the session has all that it asked for.
Status Client::settle(Time deadline) {
  if (!failure_.ok()) return failure_;
  Waiting waiting(job_);
  while (session_.busy()) {
    COHAUL_ASSIGN(bool some, receive());
    COHAUL_ASSIGN([[maybe_unused]] bool all, flush());
    if (some || !session_.busy()) continue;
    COHAUL_TRY(wait(deadline));
  }
  return {};
}

Status Client::wait(Time deadline) {
  if (Status health = job_.health(); !health.ok()) return fail(health);
  Time now = poller_->clock().now();
  if (now >= deadline) {
    if (Status lost = job_.overdue(seconds(job_.options().step_timeout_s)); !lost.ok()) return fail(lost);
    return fail(peer_lost("no answer before the deadline (job.step_timeout_s); still missing: " + session_.missing()));
  }
  Status waited = poller_->wait(std::min(deadline, now + kLookAround));
  return waited.ok() ? waited : fail(waited);
}

Status Client::start(Time deadline) {
  if (!failure_.ok()) return failure_;
  note_operation("pull the initial parameters");
  session_.start();
  return settle(deadline).context("start");
}

Result<std::optional<update::Work>> Client::next(const update::Loop& loop) {
  if (!failure_.ok()) return failure_;
  if (is_sync()) {
    if (step_ >= loop.end) return std::optional<update::Work>();
    std::int32_t share = init_.slices / init_.workers, first = job_.rank() * share;
    return std::optional(update::Work{Step(step_), {first, first + share, init_.slices}});
  }
  note_operation("ask for a step after pushes", session_.clock());
  session_.ask(loop);
  COHAUL_TRY(settle(step_deadline()).context("ask for the next step"));
  if (!session_.granted()) return std::optional<update::Work>();
  return std::optional(update::Work{*session_.granted(), {0, init_.slices, init_.slices}});
}

Status Client::begin(const update::Work& work, const update::StepSettings& settings) {
  if (!failure_.ok()) return failure_;
  step_ = work.step.value + 1;
  return session_.begin(work, settings);
}

Status Client::push(std::int32_t run, ConstBytes gradient, std::span<const std::int32_t> absent) {
  if (!failure_.ok()) return failure_;
  note_operation("push run in step", run, step_ - 1);
  COHAUL_TRY(session_.push(run, gradient, absent));
  COHAUL_ASSIGN([[maybe_unused]] bool all, flush());
  return failure_;
}

Result<update::StepOutcome> Client::finish(double loss) {
  if (!failure_.ok()) return failure_;
  note_operation("wait for the servers in step", step_ - 1);
  COHAUL_TRY(session_.finish(loss));
  if (Status settled = settle(step_deadline()); !settled.ok())
    return settled.context("step " + std::to_string(step_ - 1));
  return session_.outcome();
}

Result<Counts> Client::counts() {
  if (!failure_.ok()) return failure_;
  note_operation("ask the servers for their counts");
  session_.ask_stats();
  COHAUL_TRY(settle(step_deadline()).context("ask for counts"));
  return Counts{session_.tables(), session_.coordinator()};
}

Status Client::flush_all(Time deadline) {
  Waiting waiting(job_);
  for (;;) {
    COHAUL_ASSIGN(bool all, flush());
    if (all) return {};
    COHAUL_TRY(wait(deadline));
  }
}

Status Client::close() {
  if (!failure_.ok()) return failure_;
  note_operation("say goodbye to the servers");
  session_.goodbye();
  COHAUL_TRY(flush_all(step_deadline()).context("goodbye"));
  Status served = threads_.join();
  return served.ok() ? served : fail(served.context("a server of this process"));
}

Status check(const job::Job& job, const update::RuleSettings& rule, const Options& options) {
  COHAUL_TRY(rule.check());
  if (options.servers < 1 || options.servers > kServersMax) {
    return invalid("strategy.servers is " + std::to_string(options.servers) + ": give a number from 1 to " +
                   std::to_string(kServersMax));
  }
  if (job.servers() != 0 && job.servers() != options.servers) {
    return invalid("the job was launched with " + std::to_string(job.servers()) + " servers, the strategy asks for " +
                   std::to_string(options.servers) + ": make them equal");
  }
  if (job.servers() != 0 && options.trainer > 0)
    return invalid(
        "the job's server processes serve its first trainer, and this is another: give that one all_reduce, or start "
        "the "
        "job without servers (they run as threads of the workers then)");
  if (options.consistency.staleness < 0) return invalid("strategy.staleness is below 0");
  bool sync = options.consistency.kind == Consistency::Kind::sync;
  if (options.slices < 1 || (sync && options.slices % job.world() != 0)) {
    return invalid("train.slices is " + std::to_string(options.slices) + ", which " + std::to_string(job.world()) +
                   " workers can't share evenly");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<ServerExchange>> make_server_exchange(job::Job& job, const update::Layout& layout,
                                                             const update::RuleSettings& rule, Bytes parameters,
                                                             const Options& options) {
  COHAUL_TRY(check(job, rule, options));
  if (parameters.size() != layout.bytes()) return invalid("the flat area is not as long as the layout says");
  Init init{.consistency = options.consistency,
            .rule = rule,
            .workers = job.world(),
            .servers = options.servers,
            .slices = options.slices,
            .layout_hash = layout.hash()};
  auto client = std::make_unique<Client>(job, layout, init, parameters);
  COHAUL_TRY(client->connect(layout, options));
  return std::unique_ptr<ServerExchange>(std::move(client));
}

}  // namespace cohaul::ps
