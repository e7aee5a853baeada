#include "cohaul/strategy/server_engine.h"

#include <algorithm>

#include "cohaul/collective/workers.h"
#include "cohaul/ps/client.h"
#include "cohaul/strategy/slices.h"

namespace cohaul::strategy {
namespace {

ps::Consistency consistency_of(const ParameterServer& strategy) {
  using Kind = ps::Consistency::Kind;
  if (const auto* b = std::get_if<Bounded>(&strategy.consistency)) return {Kind::bounded, b->staleness};
  return {std::holds_alternative<Asynchronous>(strategy.consistency) ? Kind::async : Kind::sync, 0};
}

Asynchrony counted(std::int64_t pushes, std::int64_t staleness_sum, std::int64_t staleness_max, std::int64_t gap_max) {
  double mean = pushes > 0 ? static_cast<double>(staleness_sum) / static_cast<double>(pushes) : 0;
  return {mean, staleness_max, gap_max, pushes};
}

class ServerEngine final : public Engine {
 public:
  ServerEngine(job::Job& job, bool asynchronous, int slices, int servers)
      : job_(job), asynchronous_(asynchronous), slices_(slices), servers_(servers) {}

  Capabilities capabilities() const override { return {asynchronous_, false, job_.world()}; }
  int slices() const override { return slices_; }
  update::Exchange& exchange() override { return *exchange_; }
  std::shared_ptr<const void> memory() const override { return memory_; }
  Result<std::optional<update::Work>> next(const update::Loop& loop) override { return exchange_->next(loop); }
  Status leave_loop(bool stop, bool) override { return exchange_->leave_loop(stop); }
  LoopState loop() const override {
    const ps::LoopState l = exchange_->loop();
    return {l.first, l.end, l.updates_done};
  }
  Status write(const std::function<Status()>& meet, Time deadline) override {
    if (job_.rank() == 0) COHAUL_TRY(exchange_->write(deadline));
    COHAUL_TRY(meet());
    return job_.rank() == 0 ? Status() : exchange_->write(deadline);
  }
  Status swap_averages(const std::function<Status()>& meet, Time deadline) override {
    if (job_.rank() == 0) COHAUL_TRY(exchange_->swap_averages(deadline));
    COHAUL_TRY(meet());
    if (job_.rank() != 0) COHAUL_TRY(exchange_->swap_averages(deadline));
    return meet();
  }
  std::vector<ReportedUpdate> take_reports() override {
    std::vector<ReportedUpdate> out;
    for (const auto& [number, u] : exchange_->take_updates())
      out.push_back({number, u.loss, u.elapsed, counted(u.pushes, u.staleness_sum, u.staleness_max, u.gap_max)});
    return out;
  }
  collective::Group* group() override { return nullptr; }
  Result<std::optional<Asynchrony>> asynchrony() override {
    if (!asynchronous_) return std::optional<Asynchrony>();
    COHAUL_ASSIGN(ps::Counts counts, exchange_->counts());
    const ps::Stats& c = counts.coordinator;
    return std::optional(counted(c.pushes, c.staleness_sum, c.staleness_max, c.gap_max));
  }
  Result<std::vector<checkpoint::FileImage>> save(checkpoint::ImageMemory&, const std::string& folder,
                                                  const std::string& key) override {
    if (job_.rank() == 0) COHAUL_TRY(exchange_->save(folder, key));
    return std::vector<checkpoint::FileImage>();
  }
  Status look(const std::string& folder, const std::string& mark) override { return exchange_->look(folder, mark); }
  int saving_servers() const override { return servers_; }
  Status restore(const std::string& checkpoint, std::int64_t updates, const std::function<Status()>& meet,
                 Time deadline) override {
    if (job_.rank() == 0) COHAUL_TRY(exchange_->restore(checkpoint, updates));
    exchange_->set_first(updates);
    COHAUL_TRY(meet());
    return exchange_->refresh(deadline);
  }
  Status close() override { return exchange_->close(); }

  Status connect(const EngineOptions& options, const ps::Options& ps) {
    const auto bytes = std::max<std::size_t>(options.layout->bytes(), kAlignment);
    COHAUL_ASSIGN(transport::Arena arena, transport::Arena::create("cohaul parameters", bytes));
    memory_ = std::make_shared<transport::Arena>(std::move(arena));
    COHAUL_ASSIGN(exchange_, ps::make_server_exchange(job_, *options.layout, options.optimizer,
                                                      memory_->bytes().first(options.layout->bytes()), ps));
    return {};
  }

 private:
  job::Job& job_;
  bool asynchronous_;
  int slices_, servers_;
  std::shared_ptr<transport::Arena> memory_;
  std::unique_ptr<ps::ServerExchange> exchange_;
};

}  // namespace

Result<std::unique_ptr<Engine>> make_server_engine(const ParameterServer& strategy, job::Job& job,
                                                   const EngineOptions& options) {
  if (strategy.servers < 1)
    return invalid("a parameter server has at least 1 server, not " + std::to_string(strategy.servers));
  ps::Options ps;
  ps.consistency = consistency_of(strategy);
  bool asynchronous = ps.consistency.kind != ps::Consistency::Kind::sync;
  COHAUL_ASSIGN(ps.slices, slices_for(options.slices, asynchronous ? 1 : job.world()));
  ps.policy = options.policy;
  ps.servers = strategy.servers;
  ps.watch = options.watch;
  ps.trainer = options.trainer;
  ps.hosts = collective::hosts_of(job);
  ps.lend = options.lend;
  auto engine = std::make_unique<ServerEngine>(job, asynchronous, ps.slices, strategy.servers);
  COHAUL_TRY(engine->connect(options, ps));
  return std::unique_ptr<Engine>(std::move(engine));
}

}  // namespace cohaul::strategy
