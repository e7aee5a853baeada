#include "cohaul/strategy/engine.h"

#include <set>
#include <string>

#include "cohaul/checkpoint/folder.h"
#include "cohaul/checkpoint/state_file.h"
#include "cohaul/collective/all_reduce_exchange.h"
#include "cohaul/collective/reduce_plan.h"
#include "cohaul/collective/workers.h"
#include "cohaul/strategy/server_engine.h"
#include "cohaul/strategy/slices.h"
#include "cohaul/update/local_exchange.h"

namespace cohaul::strategy {
namespace {

/// The engine of single, all_reduce and tensor: every worker counts the steps by itself. They differ in how a step is divided and in the exchange.
class CountedEngine final : public Engine {
 public:
  CountedEngine(job::Job& job, const EngineOptions& options, Capabilities capabilities, update::SliceRange slices)
      : job_(job), layout_(*options.layout), places_(options.places), capabilities_(capabilities), slices_(slices) {}

  Capabilities capabilities() const override { return capabilities_; }
  int slices() const override { return slices_.count; }
  update::Exchange& exchange() override { return *exchange_; }
  std::shared_ptr<const void> memory() const override { return memory_; }
  Result<std::optional<update::Work>> next(const update::Loop& loop) override {
    loop_.first = loop.first;
    loop_.end = loop.end;
    if (next_ >= loop.end) return std::optional<update::Work>();
    return std::optional(update::Work{Step(next_++), slices_});
  }
  Status leave_loop(bool, bool unfinished) override {
    if (unfinished) --next_;
    loop_.end = next_;
    return {};
  }
  LoopState loop() const override { return {loop_.first, loop_.end, next_}; }
  Status write(const std::function<Status()>&, Time deadline) override { return exchange_->write(deadline); }
  Status swap_averages(const std::function<Status()>& meet, Time deadline) override {
    COHAUL_TRY(exchange_->swap_averages(deadline));
    return meet();
  }
  collective::Group* group() override { return group_ ? &group_->group() : nullptr; }
  Result<std::optional<Asynchrony>> asynchrony() override { return std::optional<Asynchrony>(); }
  Result<std::vector<checkpoint::FileImage>> save(checkpoint::ImageMemory& memory, const std::string&,
                                                  const std::string&) override {
    const std::string name = checkpoint::kOwnerPrefix + std::to_string(job_.rank()) + ".safetensors";
    std::vector<update::StatePiece> pieces = placed(exchange_->owned());
    std::erase_if(pieces, [this](const update::StatePiece& p) { return !place_of(p.parameter).saves; });
    COHAUL_ASSIGN(checkpoint::FileImage image, checkpoint::state_image(memory, name, layout_, pieces));
    std::vector<checkpoint::FileImage> images;
    images.push_back(std::move(image));
    return images;
  }
  Status restore(const std::string& path, std::int64_t updates, const std::function<Status()>& meet, Time) override {
    COHAUL_ASSIGN(const checkpoint::SavedState saved, checkpoint::SavedState::open(path));
    const std::span<const update::ParameterSpec> specs = layout_.parameters();
    for (std::size_t i = 0; i < specs.size(); ++i) {
      const auto p = static_cast<std::int32_t>(i);
      if (!layout_.is_trained(p)) continue;
      const Bytes values = exchange_->parameters().subspan(layout_.offset(p), layout_.bytes(p));
      COHAUL_TRY(saved.read_values(specs[i].name, specs[i].dtype, place_of(p).first, values));
    }
    for (const update::StatePiece& piece : placed(exchange_->owned()))
      COHAUL_TRY(saved.restore(specs[static_cast<std::size_t>(piece.parameter)].name, piece));
    exchange_->set_first(updates);
    return meet();
  }
  Status close() override { return workers_ ? workers_->links().flush("say goodbye") : Status{}; }

  Status all_reduce(const EngineOptions& options) {
    const std::string number = std::to_string(options.trainer);
    Watch& watch = options.watch ? *options.watch : job_;
    COHAUL_ASSIGN(workers_, collective::Workers::connect(job_, "all_reduce " + number, options.layout->hash(), watch));
    if (options.own_optimizer) {
      COHAUL_ASSIGN(group_, collective::Workers::connect(job_, "average " + number, options.layout->hash(), watch));
    }
    collective::AllReduceOptions o;
    o.hosts = collective::hosts_of(job_);
    // Some host has several workers.
    const bool several = std::set(o.hosts.begin(), o.hosts.end()).size() < o.hosts.size();
    o.shared_parameters = several && !options.own_optimizer;
    o.slices = slices_.count;
    o.policy = options.policy;
    o.group = "trainer " + number;
    o.lend = options.lend;
    if (o.shared_parameters) COHAUL_TRY(share_parameters(options));
    else COHAUL_TRY(own_parameters(*options.layout));
    COHAUL_ASSIGN(exchange_, collective::make_all_reduce_exchange(*options.layout, options.optimizer,
                                                                  parameters(*options.layout), workers_->links(), o));
    return {};
  }
  Status local(const EngineOptions& options) {
    COHAUL_TRY(own_parameters(*options.layout));
    exchange_ =
        update::make_local_exchange(*options.layout, options.optimizer, options.policy, parameters(*options.layout));
    return {};
  }

 private:
  Place place_of(std::int32_t parameter) const {
    return places_.empty() ? Place() : places_[static_cast<std::size_t>(parameter)];
  }
  /// Returns the pieces with their positions in the whole parameters.
  std::vector<update::StatePiece> placed(std::vector<update::StatePiece> pieces) const {
    for (update::StatePiece& p : pieces) p.first += place_of(p.parameter).first;
    return pieces;
  }
  Status own_parameters(const update::Layout& layout) {
    COHAUL_ASSIGN(transport::Arena arena,
                  transport::Arena::create("cohaul parameters", std::max<std::size_t>(layout.bytes(), 64)));
    memory_ = std::make_shared<transport::Arena>(std::move(arena));
    return {};
  }
  Status share_parameters(const EngineOptions& options) {
    Time deadline = steady_clock().now() + seconds(job_.options().join_timeout_s);
    const auto bytes = std::max<std::size_t>(options.layout->bytes(), 64);
    COHAUL_ASSIGN(transport::Arena arena,
                  job_.share_on_host(
                      "parameters/" + std::to_string(options.trainer), bytes, transport::Access::write,
                      [](transport::Arena&) { return Status(); }, deadline));
    memory_ = std::make_shared<transport::Arena>(std::move(arena));
    COHAUL_TRY(job_.barrier("parameters/" + std::to_string(options.trainer) + " are shared", job_.world(), deadline));
    job_.shared_with_all(*memory_);
    return {};
  }
  Bytes parameters(const update::Layout& layout) { return memory_->bytes().first(layout.bytes()); }

  job::Job& job_;
  const update::Layout& layout_;
  const std::vector<Place> places_;
  Capabilities capabilities_;
  update::SliceRange slices_;
  std::shared_ptr<transport::Arena> memory_;
  std::unique_ptr<collective::Workers> workers_, group_;
  std::unique_ptr<update::Exchange> exchange_;
  std::int64_t next_ = 0;
  LoopState loop_;
};

Result<std::unique_ptr<Engine>> counted(const Strategy& strategy, job::Job& job, const EngineOptions& options) {
  bool data_parallel = std::holds_alternative<AllReduce>(strategy) && job.world() > 1;
  int workers = data_parallel ? job.world() : 1;
  COHAUL_ASSIGN(int slices, slices_for(options.slices, workers));
  update::SliceRange mine{0, slices, slices};
  if (data_parallel)
    mine = update::deal_slices(slices, collective::hosts_of(job))[static_cast<std::size_t>(job.rank())];
  bool average = std::holds_alternative<AllReduce>(strategy) || std::holds_alternative<Single>(strategy);
  auto engine =
      std::make_unique<CountedEngine>(job, options, Capabilities{false, average, workers, job.world() == 1}, mine);
  if (data_parallel) COHAUL_TRY(engine->all_reduce(options));
  else COHAUL_TRY(engine->local(options));
  return std::unique_ptr<Engine>(std::move(engine));
}

}  // namespace

Result<std::unique_ptr<Engine>> make_engine(const Strategy& strategy, job::Job& job, const EngineOptions& options) {
  if (const auto* ps = std::get_if<ParameterServer>(&strategy)) return make_server_engine(*ps, job, options);
  if (std::holds_alternative<Single>(strategy) && job.world() > 1)
    return invalid("the strategy is single, but the job has " + std::to_string(job.world()) +
                   " workers: choose all_reduce or parameter_server, or start one worker");
  return counted(strategy, job, options);
}

}  // namespace cohaul::strategy
