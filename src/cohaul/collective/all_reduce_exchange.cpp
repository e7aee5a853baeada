#include "cohaul/collective/all_reduce_exchange.h"

#include <cstring>
#include <string>

#include "cohaul/base/last_operations.h"
#include "cohaul/update/owner.h"
#include "cohaul/update/sum.h"

namespace cohaul::collective {
namespace {

using transport::Frame;
using transport::Message;
using update::Layout;

enum Kind : std::uint16_t { kInitial = 16, kGradient, kUpdated, kDone };

/// The partitions of one run that one rank owns: [first, last), and their bytes in the flat area.
struct Share {
  std::int32_t first = 0, last = 0;
  std::uint64_t offset = 0, bytes = 0;
  bool empty() const { return first == last; }
};

/// What has come of one run in one step.
struct RunState {
  ConstBytes mine;                   // this rank's gradient of the whole run; empty until pushed
  std::vector<std::int32_t> absent;  // of mine
  std::vector<Frame> frames;         // by rank: its gradient of this rank's share
  std::vector<std::vector<std::int32_t>> absents;
  bool pushed = false;
  int gradients = 0;  // ranks whose gradient of this rank's share is here
  bool reduced = false;
};

/// A fast rank may be one step ahead, never two: it needs this rank's answer to every step.
struct StepState {
  std::vector<RunState> runs;
  std::vector<double> losses;  // by rank
  int reduced = 0;             // runs reduced here
};

std::vector<std::vector<Share>> shares_of(const Layout& layout, int ranks) {
  auto owners = update::assign_owners(layout, ranks);
  std::vector<std::vector<Share>> out;
  for (const update::Run& run : layout.runs()) {
    std::vector<Share> shares(static_cast<std::size_t>(ranks));
    for (std::int32_t p = run.partition_first; p < run.partition_last; ++p) {
      Share& s = shares[static_cast<std::size_t>(owners[static_cast<std::size_t>(p)])];
      const update::Partition& partition = layout.partitions()[static_cast<std::size_t>(p)];
      if (s.empty()) s.first = p, s.offset = partition.offset;
      s.last = p + 1;
      s.bytes = partition.offset + partition.bytes - s.offset;
    }
    out.push_back(std::move(shares));
  }
  return out;
}

class AllReduceExchange final : public update::Exchange {
 public:
  AllReduceExchange(const Layout& layout, const update::RuleSettings& rule, Bytes parameters, Links& links,
                    const AllReduceOptions& options)
      : layout_(layout),
        parameters_(parameters),
        links_(links),
        shared_(options.shared_parameters),
        shares_(shares_of(layout, links.size())),
        owner_(make_owner(layout, rule)) {
    auto n = static_cast<std::size_t>(links.size());
    for (StepState& s : steps_) {
      s.losses.resize(n);
      s.runs.resize(layout.runs().size());
      for (RunState& run : s.runs) {
        run.frames.resize(n);
        run.absents.resize(n);
      }
    }
    contributions_.resize(n);
    loss_terms_.resize(n);
  }

  /// What links must know before the first frame: which memory travels by address, and where updates that come as bytes belong.
  Status prepare(const AllReduceOptions& options) {
    for (int r = 0; r < links_.size(); ++r) {
      if (r == links_.rank()) continue;
      for (const transport::Arena* arena : options.lend) COHAUL_TRY(links_.channel(r).lend(*arena));
      links_.channel(r).set_place(
          [this, r](std::uint16_t kind, std::int64_t, std::uint64_t key, std::uint64_t length) -> Bytes {
            if (kind == kInitial && key == 0 && length == parameters_.size()) return parameters_;
            if (kind != kUpdated || key >= shares_.size()) return {};
            const Share& s = shares_[key][static_cast<std::size_t>(r)];
            return length == s.bytes ? parameters_.subspan(s.offset, s.bytes) : Bytes{};
          });
    }
    return {};
  }

  Bytes parameters() override { return parameters_; }

  Status start(Time) override {
    note_operation("start: parameters of worker 0");
    if (links_.rank() == 0) {
      for (int r = 1; r < links_.size(); ++r) {
        Message m;
        m.kind = kInitial;
        if (!shared_) m.payload = parameters_;
        COHAUL_TRY(links_.send(r, m, "send the first parameters"));
      }
      COHAUL_TRY(links_.flush("send the first parameters"));
      for (int r = 1; r < links_.size(); ++r) {
        COHAUL_ASSIGN(Frame f, links_.receive(r, "wait until all have the first parameters"));
        if (f.kind != kInitial) return unexpected(f, r);
      }
      return {};
    }
    COHAUL_ASSIGN(Frame f, links_.receive(0, "wait for the first parameters"));
    if (f.kind != kInitial || f.payload.size() != (shared_ ? 0 : parameters_.size())) return unexpected(f, 0);
    store(f, parameters_);
    Message m;
    m.kind = kInitial;
    m.key = 1;
    return links_.send(0, m, "say that the first parameters are here");
  }

  Status begin(const update::Work& work, const update::StepSettings& settings) override {
    if (!links_.failure().ok()) return links_.failure();
    step_ = work.step.value;
    settings_ = settings;
    return {};
  }

  Status push(std::int32_t run, ConstBytes gradient, std::span<const std::int32_t> absent) override {
    if (!links_.failure().ok()) return links_.failure();
    note_operation("send gradient of run, step", run, step_);
    const update::Run& r = layout_.runs()[static_cast<std::size_t>(run)];
    RunState& state = now().runs[static_cast<std::size_t>(run)];
    state.mine = gradient;
    state.pushed = true;
    state.absent.assign(absent.begin(), absent.end());
    for (int to = 0; to < links_.size(); ++to) {
      const Share& share = shares_[static_cast<std::size_t>(run)][static_cast<std::size_t>(to)];
      if (to == links_.rank() || share.empty()) continue;
      Message m;
      m.kind = kGradient;
      m.clock = step_;
      m.key = static_cast<std::uint64_t>(run);
      m.body = as_bytes(absent);
      m.payload = gradient.subspan(share.offset - r.offset, share.bytes);
      COHAUL_TRY(links_.send(to, m, "send a gradient"));
    }
    COHAUL_TRY(progress());
    return reduce(run);
  }

  Result<update::StepOutcome> finish(double loss) override {
    if (!links_.failure().ok()) return links_.failure();
    note_operation("finish step", step_);
    StepState& s = now();
    s.losses[static_cast<std::size_t>(links_.rank())] = loss;
    for (int r = 0; r < links_.size(); ++r) {
      if (r == links_.rank()) continue;
      Message m;
      m.kind = kDone;
      m.clock = step_;
      m.body = as_bytes(std::span<const double>(&loss, 1));
      COHAUL_TRY(links_.send(r, m, "end a step"));
    }
    Waiting waiting(links_.watch());
    Time deadline = links_.poller().clock().now() + links_.timeout();
    for (;;) {
      COHAUL_TRY(progress());
      if (complete(s)) break;
      COHAUL_TRY(links_.wait(deadline, "finish a step", [this](int r) { return missing(r); }));
    }
    COHAUL_TRY(links_.flush("finish a step"));
    update::StepOutcome out;
    for (std::size_t r = 0; r < s.losses.size(); ++r) loss_terms_[r] = &s.losses[r];
    update::tree_sum(std::span<const double* const>(loss_terms_), &out.loss, 1);
    reset(s);
    return out;
  }

  std::size_t memory_bytes() const override { return owner_.state_bytes(); }

 private:
  update::Owner make_owner(const Layout& layout, const update::RuleSettings& rule) const {
    std::vector<PartitionId> owned;
    for (const auto& run : shares_)
      for (std::int32_t p = mine(run).first; p < mine(run).last; ++p) owned.push_back(PartitionId(p));
    return {layout, rule, owned};
  }
  const Share& mine(const std::vector<Share>& run) const { return run[static_cast<std::size_t>(links_.rank())]; }
  StepState& at(std::int64_t step) { return steps_[step & 1]; }
  StepState& now() { return at(step_); }

  bool complete(const StepState& s) const {
    if (s.reduced < static_cast<int>(s.runs.size())) return false;
    for (int r = 0; r < links_.size(); ++r)
      if (missing(r)) return false;
    return true;
  }

  /// Whether finish() still waits for this rank.
  bool missing(int rank) const {
    if (rank == links_.rank()) return false;
    if (done_[static_cast<std::size_t>(rank)] < step_) return true;
    for (std::size_t run = 0; run < shares_.size(); ++run)
      if (!updated(run, rank)) return true;
    return false;
  }
  bool updated(std::size_t run, int rank) const {
    return shares_[run][static_cast<std::size_t>(rank)].empty() ||
           updated_[run * static_cast<std::size_t>(links_.size()) + static_cast<std::size_t>(rank)] >= step_;
  }

  void reset(StepState& s) {
    s.reduced = 0;
    for (RunState& run : s.runs) {
      run.mine = {};
      run.gradients = 0;
      run.pushed = run.reduced = false;
    }
  }

  /// Takes what has come and does what it makes possible.
  Status progress() {
    COHAUL_TRY(links_.drain());
    Frame f;
    for (int r = 0; r < links_.size(); ++r) {
      if (r == links_.rank()) continue;
      while (links_.take(r, f)) COHAUL_TRY(handle(r, std::move(f)));
    }
    return {};
  }

  Status handle(int from, Frame frame) {
    if (frame.clock < step_ || frame.clock > step_ + 1) return unexpected(frame, from);
    StepState& s = at(frame.clock);
    auto rank = static_cast<std::size_t>(from);
    if (frame.kind == kDone) {
      if (frame.body.size() != sizeof(double) || frame.clock <= done_[rank]) return unexpected(frame, from);
      std::memcpy(&s.losses[rank], frame.body.data(), sizeof(double));
      done_[rank] = frame.clock;
      return {};
    }
    if (frame.key >= shares_.size()) return unexpected(frame, from);
    auto run = static_cast<std::int32_t>(frame.key);
    const auto& shares = shares_[frame.key];
    if (frame.kind == kUpdated && frame.payload.size() == (shared_ ? 0 : shares[rank].bytes) && !shares[rank].empty()) {
      if (!shared_) store(frame, parameters_.subspan(shares[rank].offset, shares[rank].bytes));
      updated_[frame.key * static_cast<std::size_t>(links_.size()) + rank] = frame.clock;
      return {};
    }
    RunState& state = s.runs[frame.key];
    bool fits = frame.kind == kGradient && frame.payload.size() == mine(shares).bytes && !mine(shares).empty();
    if (!fits || frame.body.size() % sizeof(std::int32_t) != 0 || !state.frames[rank].payload.empty())
      return unexpected(frame, from);
    state.absents[rank].resize(frame.body.size() / sizeof(std::int32_t));
    if (!frame.body.empty()) std::memcpy(state.absents[rank].data(), frame.body.data(), frame.body.size());
    state.frames[rank] = std::move(frame);
    ++state.gradients;
    return s.runs.data() == now().runs.data() ? reduce(run) : Status{};
  }

  /// Sums and updates this rank's share of a run, once all ranks' gradients are here.
  Status reduce(std::int32_t run) {
    auto index = static_cast<std::size_t>(run);
    RunState& state = now().runs[index];
    const Share& share = mine(shares_[index]);
    bool ready = state.pushed && (share.empty() || state.gradients == links_.size() - 1);
    if (state.reduced || !ready) return {};
    state.reduced = true;
    ++now().reduced;
    if (share.empty()) return {};
    std::uint64_t run_offset = layout_.runs()[index].offset;
    for (std::int32_t p = share.first; p < share.last; ++p) {
      const update::Partition& part = layout_.partitions()[static_cast<std::size_t>(p)];
      for (std::size_t r = 0; r < contributions_.size(); ++r) {
        bool own = static_cast<int>(r) == links_.rank();
        contributions_[r] =
            own ? update::Contribution{state.mine.subspan(part.offset - run_offset, part.bytes), state.absent}
                : update::Contribution{state.frames[r].payload.subspan(part.offset - share.offset, part.bytes),
                                       state.absents[r]};
      }
      std::byte* place = parameters_.data() + part.offset;
      owner_.apply(PartitionId(p), contributions_, settings_, place, place);
    }
    for (Frame& f : state.frames) f = Frame();
    for (int r = 0; r < links_.size(); ++r) {
      if (r == links_.rank()) continue;
      Message m;
      m.kind = kUpdated;
      m.clock = step_;
      m.key = index;
      if (!shared_) m.payload = parameters_.subspan(share.offset, share.bytes);
      COHAUL_TRY(links_.send(r, m, "send updated parameters"));
    }
    return {};
  }

  static void store(const Frame& f, Bytes place) {
    if (!f.payload.empty() && f.payload.data() != place.data())
      std::memcpy(place.data(), f.payload.data(), place.size());
  }

  Status unexpected(const Frame& f, int from) {
    return links_.fail(corrupt("an unexpected frame (kind " + std::to_string(f.kind) + ", step " +
                               std::to_string(f.clock) + ", run " + std::to_string(f.key) + ", " +
                               std::to_string(f.payload.size()) + " bytes) of worker " + std::to_string(from) +
                               " in step " + std::to_string(step_)));
  }

  const Layout& layout_;
  Bytes parameters_;
  Links& links_;
  bool shared_;
  std::vector<std::vector<Share>> shares_;  // by run, then rank
  update::Owner owner_;
  std::int64_t step_ = 0;
  update::StepSettings settings_;
  StepState steps_[2];
  std::vector<update::Contribution> contributions_;
  std::vector<const double*> loss_terms_;
  // The last step that each rank is done with; the last in which each share (by run, then rank) came back new.
  std::vector<std::int64_t> done_ = std::vector<std::int64_t>(static_cast<std::size_t>(links_.size()), -1);
  std::vector<std::int64_t> updated_ =
      std::vector<std::int64_t>(shares_.size() * static_cast<std::size_t>(links_.size()), -1);
};

}  // namespace

Result<std::unique_ptr<update::Exchange>> make_all_reduce_exchange(const update::Layout& layout,
                                                                   const update::RuleSettings& rule, Bytes parameters,
                                                                   Links& links, const AllReduceOptions& options) {
  auto exchange = std::make_unique<AllReduceExchange>(layout, rule, parameters, links, options);
  COHAUL_TRY(exchange->prepare(options));
  return std::unique_ptr<update::Exchange>(std::move(exchange));
}

}  // namespace cohaul::collective
