// Checkpoints of a trainer: written between steps, and gone on from.

#include <ATen/Parallel.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <sstream>
#include <utility>

#include "cohaul/base/digits.h"
#include "cohaul/base/facts.h"
#include "cohaul/base/last_operations.h"
#include "cohaul/checkpoint/folder.h"
#include "cohaul/job/control.h"
#include "cohaul/observe/progress.h"
#include "cohaul/train/trainer_run.h"
#include "cohaul/train/weights.h"

namespace cohaul::train {
namespace {

std::string absolute(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::absolute(path, ignored).lexically_normal().string();
}

/// Files as lines of the store: "name bytes hash".
std::string text_of(const std::vector<checkpoint::FileEntry>& files) {
  std::string out;
  for (const checkpoint::FileEntry& f : files) out += f.name + " " + std::to_string(f.bytes) + " " + f.hash + "\n";
  return out;
}

std::vector<checkpoint::FileEntry> files_of(const std::string& text) {
  std::vector<checkpoint::FileEntry> out;
  std::istringstream in(text);
  for (checkpoint::FileEntry f; in >> f.name >> f.bytes >> f.hash;) out.push_back(f);
  return out;
}

std::string without_line(std::string_view facts, std::string_view name) {
  std::string out;
  std::istringstream in{std::string(facts)};
  for (std::string line; std::getline(in, line);)
    if (!line.starts_with(std::string(name) + "=")) out += line + "\n";
  return out;
}

}  // namespace

/// Worker 0's outcome, which all hear.
Status Trainer::Run::agree(const std::string& key, const Status& mine) {
  if (job_.rank() != 0) return hear(0, key).status();
  COHAUL_TRY(say(key, mine.ok() ? Result<std::string>(std::string()) : mine));
  return mine;
}

void Trainer::Run::expect_checkpoints() {
  expect_usable();
  settle();
  expect_own_values("a checkpoint");
  if (!optimizer_)
    throw Error(
        unsupported("a trainer without an optimizer has no checkpoints yet: save the model and your optimizer"));
  if (asynchronous()) throw Error(unsupported("asynchronous modes have no checkpoints yet: use train.save at the end"));
  if (splits_layers())
    throw Error(unsupported("the strategy tensor has no checkpoints yet: use train.save at the end"));
}

// ---- writing

checkpoint::Manifest Trainer::Run::manifest() const {
  checkpoint::Manifest m;
  m.library = job::library_version();
  m.trainer = number_;
  m.updates = done_;
  m.optimizer = update::name(optimizer_->rule.kind);
  if (rates_by_hand_) m.rates.assign(rates_->own().begin(), rates_->own().end());
  m.ema = options_.ema;
  m.strategy = strategy_;
  m.workers = job_.world();
  m.slices = engine_->slices();
  m.threads = at::get_num_threads();
  m.seed = options_.seed;
  m.loop = {.number = loop_.number(),
            .first = loop_.first(),
            .last = loop_.last(),
            .running = loop_.running(),
            .facts = loop_.facts()};
  if (resumed_ && loop_.number() < resumed_->number) m.loop = *resumed_;  // this run has not come back to it yet
  m.values = values_;
  m.parameters = model_->entries();
  return m;
}

/// This worker's files; at worker 0 those of all.
Status Trainer::Run::write_files(const std::string& folder, const std::string& key,
                                 std::vector<checkpoint::FileEntry>& files) {
  Result<std::vector<checkpoint::FileEntry>> mine = engine_->save(folder);
  const auto of = [&](int rank) { return key + "/files/" + std::to_string(rank); };
  if (job_.rank() != 0) return say(of(job_.rank()), mine.ok() ? Result<std::string>(text_of(*mine)) : mine.status());
  Status failed = mine.status();
  if (mine.ok()) files = *std::move(mine);
  for (int r = 1; r < job_.world(); ++r) {
    const Result<std::string> theirs = hear(r, of(r));
    if (!theirs.ok() && theirs.status().code() != Code::invalid) return theirs.status();
    if (!theirs.ok() && failed.ok()) failed = theirs.status();
    if (!theirs.ok()) continue;
    for (checkpoint::FileEntry& f : files_of(*theirs)) files.push_back(std::move(f));
  }
  COHAUL_TRY(failed);
  const auto add = [&](const char* name, const NamedTensors& tensors) -> Status {
    if (tensors.empty()) return {};
    COHAUL_TRY(train::save(folder + "/" + name, {}, tensors));
    COHAUL_ASSIGN(checkpoint::FileEntry entry, checkpoint::entry_of(folder, name));
    files.push_back(std::move(entry));
    return {};
  };
  COHAUL_TRY(add(checkpoint::kBuffersName, model_->buffers()));
  return add(checkpoint::kBestName, best_);
}

/// Nobody else's checkpoints are among this trainer's: a later run could not tell which to go on from.
Status Trainer::Run::expect_own_folder(const std::string& folder) const {
  for (const std::int64_t updates : checkpoint::list(folder)) {
    const std::string path = folder + "/" + checkpoint::folder_name(updates);
    const Result<checkpoint::Manifest> there = checkpoint::read_manifest(path);
    if (!there.ok()) continue;
    if (there->trainer != number_)
      return invalid(path + " is of the job's trainer " + std::to_string(there->trainer) + ", this is trainer " +
                     std::to_string(number_) + ": give each trainer a folder of its own");
    if (updates > done_)
      return invalid(path +
                     " is of another run, which had come further than this one: remove the folder's checkpoints, go "
                     "on from them with resume, or choose another folder");
  }
  return {};
}

/// Of all workers. m: gets the files, at worker 0.
Status Trainer::Run::write_whole(const std::string& folder, int keep, checkpoint::Manifest& m) {
  const std::string key = meetings_.group() + "/checkpoint/" + std::to_string(checkpoints_++);
  Status begun;
  if (job_.rank() == 0) begun = expect_own_folder(folder);
  if (job_.rank() == 0 && begun.ok()) begun = checkpoint::begin(folder, done_).status();
  COHAUL_TRY(agree(key + "/begun", begun));
  Status written = write_files(folder + "/" + checkpoint::folder_name(done_) + checkpoint::kUnfinished, key, m.files);
  if (job_.rank() == 0 && written.ok()) written = checkpoint::commit(folder, m);
  if (job_.rank() == 0 && written.ok()) checkpoint::prune(folder, keep);
  return agree(key + "/done", written);
}

/// Errors: what the disk says, at all workers alike; or peer_lost.
Status Trainer::Run::write_checkpoint(const std::string& folder, int keep) {
  const Time began = steady_clock().now();
  note_operation("write a checkpoint after step", done_);
  COHAUL_TRY(meetings_.meet("save_checkpoint()", done_));
  checkpoint::Manifest m = manifest();
  const Status written = write_whole(folder, keep, m);
  if (job_.rank() != 0) return written;
  observe::Event told{"checkpoint", {{"step", done_}, {"path", folder + "/" + checkpoint::folder_name(done_)}}};
  std::uint64_t bytes = 0;
  for (const checkpoint::FileEntry& f : m.files) bytes += f.bytes;
  if (written.ok()) told.add("bytes", static_cast<std::int64_t>(bytes));
  told.add("seconds", static_cast<double>(steady_clock().now() - began) / 1e9);
  if (!written.ok()) told.add("error", written.message());
  telling_.tell(told);
  return written;
}

void Trainer::Run::save_checkpoint(const std::string& folder) {
  expect_checkpoints();
  expect_between_steps("save_checkpoint()");
  const Status written = write_checkpoint(absolute(folder), std::numeric_limits<int>::max());
  if (written.code() == Code::peer_lost) broken_ = written;
  or_throw(written);
}

/// Of the loop that runs. What the disk says is reported, and training goes on.
Status Trainer::Run::checkpoint_of_loop(const CheckpointOptions& options) {
  expect_checkpoints();
  if (requests_) requests_->checkpoint_begins();
  Status written = write_checkpoint(absolute(options.folder), options.keep);
  if (written.ok() || written.code() == Code::invalid) return written;
  broken_ = written;
  throw Error(written);
}

/// Whether the loop that runs has checkpoints that can be written.
bool Trainer::Run::takes_checkpoints() const {
  return loop_.running() && !loop_.options().checkpoint.folder.empty() && optimizer_ && !asynchronous() &&
         !splits_layers();
}

/// What this worker's end of the step says.
std::uint8_t Trainer::Run::request() {
  const std::uint8_t pending = requests_ && loop_.running() ? requests_->pending() : 0;
  if (pending == 0 || takes_checkpoints()) return pending;
  requests_->checkpoint_begins();
  if (!std::exchange(warned_, true))
    observe::Progress(2).say("SIGUSR1: no checkpoint is written, since this loop has no folder for them");
  return 0;
}

/// request: the strongest of all workers, which all hear with the same step.
void Trainer::Run::checkpoint_if_due(std::uint8_t request) {
  if (!loop_.running() || loop_.options().checkpoint.folder.empty()) return;
  const CheckpointOptions& options = loop_.options().checkpoint;
  const bool by_count = options.every > 0 && (done_ - loop_.first()) % options.every == 0;
  const bool due = done_ < loop_.last() && (by_count || request != 0);  // the end of the loop writes one anyhow
  if (!due && !job::is_stop(request)) return;
  const Status written = checkpoint_of_loop(options);
  if (job::is_stop(request)) stop_for(request, absolute(options.folder), written);
}

void Trainer::Run::stop_for(std::uint8_t request, const std::string& folder, const Status& written) {
  const std::string what = "stopped by " + job::signal_name(request) + " after step " + std::to_string(done_) + "; " +
                           (written.ok() ? "checkpoint: " + folder + "/" + checkpoint::folder_name(done_)
                                         : "its checkpoint could not be written: " + written.message());
  requests_->stopping();
  requests_.reset();
  telling_.end_loop(done_ - loop_.start());
  loop_.end();
  or_throw(close());  // here, where all workers are
  if (job_.rank() == 0 && job_.options().launched)
    or_throw(job_.set(job::kStoppedKey, std::to_string(request) + " " + what));
  throw Stopped(what, request);
}

/// The loop is over. A stop that came after its last step began is no loop's any more.
void Trainer::Run::end_requests() {
  requests_.reset();
  job::Requests::suffer();
}

// ---- going on

/// The checkpoint's folder, the same at all workers; empty: there is none.
std::string Trainer::Run::find_checkpoint(const std::string& folder) {
  const std::string key = meetings_.group() + "/resume/" + std::to_string(checkpoints_++);
  if (job_.rank() != 0) return or_throw(hear(0, key));
  const checkpoint::Found found = checkpoint::find(folder);
  Status wrong;
  if (found.path.empty() && !found.passed_over.empty())
    wrong = invalid(folder + ": has no good checkpoint; the newest: " + found.passed_over.front().message());
  or_throw(say(key, wrong.ok() ? Result<std::string>(found.path) : wrong));
  or_throw(wrong);
  if (found.path.empty()) return {};
  observe::Event told{"resumed", {{"step", found.manifest.updates}, {"path", found.path}}};
  std::vector<std::string> passed_over;
  for (const Status& s : found.passed_over) passed_over.push_back(s.message());
  if (!passed_over.empty()) told.add("passed_over", std::move(passed_over));
  telling_.tell(told);
  return found.path;
}

void Trainer::Run::expect_fits(const checkpoint::Manifest& saved, const std::string& path) const {
  const auto refuse = [&](const std::string& why) { throw Error(invalid(path + ": " + why)); };
  const std::vector<checkpoint::ParameterEntry> ours = model_->entries();
  for (std::size_t p = 0; p < std::min(ours.size(), saved.parameters.size()); ++p)
    if (!(ours[p] == saved.parameters[p]))
      refuse("is of another model: its parameter " + std::to_string(p) + " is " + saved.parameters[p].name +
             ", this model's is " + ours[p].name + ", or their shapes, strides or types differ");
  if (ours.size() != saved.parameters.size())
    refuse("is of another model: it has " + std::to_string(saved.parameters.size()) + " parameters, this model has " +
           std::to_string(ours.size()));
  if (saved.trainer != number_)
    refuse("is of the job's trainer " + std::to_string(saved.trainer) + ", this is trainer " + std::to_string(number_));
  const std::string rule(update::name(optimizer_->rule.kind));
  if (saved.optimizer != rule) refuse("its optimizer is " + saved.optimizer + ", this run's is " + rule);
  if (saved.ema != options_.ema)
    refuse("its moving average has the decay " + digits_of(saved.ema) + ", this run's " + digits_of(options_.ema) +
           " (0: there is none): set ema to " + digits_of(saved.ema));
  if (!saved.rates.empty() && saved.rates.size() != rates_->own().size())
    refuse("it has learning rates for " + std::to_string(saved.rates.size()) + " groups, this run's optimizer has " +
           std::to_string(rates_->own().size()));
  if (saved.slices != engine_->slices())
    refuse("its steps have " + std::to_string(saved.slices) + " slices, this run's have " +
           std::to_string(engine_->slices()) + ": set slices to " + std::to_string(saved.slices));
  if (saved.seed != options_.seed)
    refuse("its seed is " + std::to_string(saved.seed) + ", this run's is " + std::to_string(options_.seed));
}

void Trainer::Run::load_best(const checkpoint::Manifest& saved, const std::string& path) {
  const auto named = [](const checkpoint::FileEntry& f) { return f.name == checkpoint::kBestName; };
  if (job_.rank() != 0 || std::ranges::none_of(saved.files, named)) return;
  best_ = copy_of_all();
  or_throw(load_tensors(best_, path + "/" + checkpoint::kBestName));
}

std::int64_t Trainer::Run::resume(const std::string& folder) {
  expect_checkpoints();
  if (done_ > 0 || loop_.number() > 0 || work_)
    throw Error(invalid("resume() comes before the trainer's first step and loop"));
  note_operation("resume");
  or_throw(meetings_.meet("resume()", done_));
  const std::string path = find_checkpoint(absolute(folder));
  if (path.empty()) return 0;
  const checkpoint::Manifest saved = or_throw(checkpoint::read_manifest(path));
  expect_fits(saved, path);
  follow_changes();  // what the program has loaded before gives way to the checkpoint, and does not come after it
  const auto meet = [&] { return meetings_.meet("resume()", done_); };
  or_throw(engine_->restore(path, saved.updates, meet, soon()).context(path));
  if (!model_->buffers().empty()) or_throw(load_tensors(model_->buffers(), path + "/" + checkpoint::kBuffersName));
  buffers_->remember();
  // References to values stay valid.
  for (auto& [name, value] : values_) value.clear();
  for (const auto& [name, value] : saved.values) values_[name] = value;
  load_best(saved, path);
  model_->updated([](std::int32_t) { return true; });
  model_->settled();
  if (!saved.rates.empty()) set_rates(saved.rates);
  offset_ = done_ = saved.updates;
  loop_.set_offset(offset_);
  resumed_ = saved.loop;
  return done_;
}

/// After a loop was begun: whether the run that is gone on from had done it, or a part of it.
void Trainer::Run::go_on_with_loop() {
  if (!resumed_ || loop_.number() > resumed_->number) return;
  if (loop_.number() < resumed_->number) return loop_.go_on(done_, done_, true);
  or_throw(compare_facts(without_line(resumed_->facts, "steps"), "the checkpoint", without_line(loop_.facts(), "steps"),
                         "this run"));
  const bool left = !resumed_->running && done_ < resumed_->last;
  loop_.go_on(resumed_->first, done_, left);
}

}  // namespace cohaul::train
