// Checkpoints of a trainer: written between steps, and gone on from.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <sstream>
#include <utility>

#include "cohaul/base/last_operations.h"
#include "cohaul/checkpoint/folder.h"
#include "cohaul/checkpoint/state_file.h"
#include "cohaul/checkpoint/worker_file.h"
#include "cohaul/job/control.h"
#include "cohaul/observe/progress.h"
#include "cohaul/train/trainer_run.h"
#include "cohaul/train/weights.h"

namespace cohaul::train {
namespace {

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
}

// ---- writing

std::string Trainer::Run::optimizer_name() const {
  return optimizer_ ? std::string(update::name(optimizer_->rule.kind)) : "the program's own";
}

checkpoint::Manifest Trainer::Run::manifest() const {
  checkpoint::Manifest m;
  m.library = job::library_version();
  m.trainer = number_;
  m.updates = done_;
  m.optimizer = optimizer_name();
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
  m.parameters = model_->entries();
  return m;
}

/// Without an optimizer: the parameters, which the program updates, as pieces of a flat area. count: of their updates.
std::vector<update::StatePiece> Trainer::Run::own_parameters(Bytes flat, std::int64_t& count) const {
  const update::Layout& layout = model_->layout();
  std::vector<update::StatePiece> pieces;
  for (std::size_t i = 0; i < layout.parameters().size(); ++i) {
    const auto p = static_cast<std::int32_t>(i);
    if (!layout.is_trained(p)) continue;
    update::StatePiece piece;
    piece.parameter = p;
    piece.dtype = layout.parameters()[i].dtype;
    piece.elements = layout.bytes(p) / size_of(piece.dtype);
    piece.values = flat.subspan(layout.offset(p), layout.bytes(p));
    piece.count = &count;
    pieces.push_back(piece);
  }
  return pieces;
}

/// They are the same at all workers: worker 0 writes them.
Result<std::vector<checkpoint::FileEntry>> Trainer::Run::write_own_parameters(const std::string& folder) {
  if (job_.rank() != 0) return std::vector<checkpoint::FileEntry>();
  std::vector<std::byte> flat(model_->layout().bytes());
  model_->copy_to(flat);
  std::int64_t count = done_;
  const std::string name = std::string(checkpoint::kOwnerPrefix) + "0.safetensors";
  COHAUL_ASSIGN(checkpoint::FileEntry file,
                checkpoint::write_state(folder, name, model_->layout(), own_parameters(flat, count)));
  return std::vector{std::move(file)};
}

Result<std::vector<checkpoint::FileEntry>> Trainer::Run::write_mine(const std::string& folder) {
  COHAUL_ASSIGN(std::vector<checkpoint::FileEntry> files,
                optimizer_ ? engine_->save(folder) : write_own_parameters(folder));
  const at::Tensor generator = at::detail::getDefaultCPUGenerator().get_state();
  const checkpoint::WorkerState state{
      values_, {static_cast<const char*>(generator.const_data_ptr()), static_cast<std::size_t>(generator.nbytes())}};
  COHAUL_ASSIGN(checkpoint::FileEntry own, checkpoint::write_worker(folder, job_.rank(), state));
  files.push_back(std::move(own));
  return files;
}

/// This worker's files; at worker 0 those of all.
Status Trainer::Run::write_files(const std::string& folder, const std::string& key,
                                 std::vector<checkpoint::FileEntry>& files) {
  Result<std::vector<checkpoint::FileEntry>> mine = write_mine(folder);
  const auto of = [&](int rank) { return key + "/files/" + std::to_string(rank); };
  if (job_.rank() != 0) return say(of(job_.rank()), mine.ok() ? Result<std::string>(text_of(*mine)) : mine.status());
  Status failed = mine.status();
  if (mine.ok()) files.insert(files.end(), mine->begin(), mine->end());
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

/// Worker 0 holds the folder until the trainer ends, or takes another one.
Status Trainer::Run::hold(const std::string& folder) {
  if (job_.rank() != 0 || (lock_ && lock_->folder() == folder)) return {};
  COHAUL_ASSIGN(lock_, checkpoint::FolderLock::take(folder));
  return {};
}

/// This trainer's part of the checkpoint that another one writes, of all workers. At worker 0 `files` gets its manifest.
Status Trainer::Run::write_part(const std::string& checkpoint, std::vector<checkpoint::FileEntry>& files) {
  const std::string key = meetings_.group() + "/checkpoint/" + std::to_string(checkpoints_++);
  const std::string name = checkpoint::trainer_name(number_), path = checkpoint + "/" + name;
  Status begun;
  std::error_code error;
  if (work_ && slice_ != work_->slices.first)
    begun = invalid("trainer " + std::to_string(number_) + " of the job is within a step");
  else if (averaged_) begun = invalid("trainer " + std::to_string(number_) + " of the job is within with_ema(f)");
  else if (asynchronous() && loop_.running())
    begun = invalid("trainer " + std::to_string(number_) + " of the job is within an asynchronous loop");
  else if (job_.rank() == 0 && !std::filesystem::create_directory(path, error))
    begun = invalid(path + ": cannot be made: " + error.message());
  COHAUL_TRY(agree(key + "/begun", begun));
  COHAUL_TRY(begun);
  COHAUL_TRY(count_all());
  checkpoint::Manifest m = manifest();
  Status written = write_files(path, key, m.files);
  if (job_.rank() == 0 && written.ok()) written = checkpoint::write_manifest(path, m);
  if (job_.rank() == 0 && written.ok()) {
    Result<checkpoint::FileEntry> entry = checkpoint::entry_of(checkpoint, name + "/" + checkpoint::kManifestName);
    written = entry.status();
    if (entry.ok()) files.push_back(*std::move(entry));
  }
  return agree(key + "/done", written);
}

/// Of all workers. m: gets the files, at worker 0.
Status Trainer::Run::write_whole(const std::string& folder, int keep, checkpoint::Manifest& m) {
  const std::string key = meetings_.group() + "/checkpoint/" + std::to_string(checkpoints_++);
  Status begun;
  if (job_.rank() == 0) begun = expect_own_folder(folder);
  if (begun.ok()) begun = hold(folder);
  if (begun.code() == Code::unavailable) begun = invalid(begun.message());
  if (job_.rank() == 0 && begun.ok()) begun = checkpoint::begin(folder, done_).status();
  COHAUL_TRY(agree(key + "/begun", begun));
  const std::string path = folder + "/" + checkpoint::folder_name(done_) + checkpoint::kUnfinished;
  Status written;
  for (Run* other : others_)
    if (written.ok()) written = other->write_part(path, m.files);
  if (written.ok()) written = write_files(path, key, m.files);
  if (job_.rank() == 0 && written.ok()) written = checkpoint::commit(folder, m);
  if (job_.rank() == 0 && written.ok()) checkpoint::prune(folder, keep);
  return agree(key + "/done", written);
}

/// What all workers must agree on before they write.
std::string Trainer::Run::checkpoint_facts() {
  std::string numbers, hashes;
  for (const Run* other : others_) numbers += "," + std::to_string(other->number_);
  if (!optimizer_) {
    std::vector<std::byte> flat(model_->layout().bytes());
    model_->copy_to(flat);
    std::int64_t count = done_;
    for (const update::StatePiece& p : own_parameters(flat, count)) hashes += checkpoint::hash_of(p.values);
    hashes = checkpoint::hash_of(as_bytes(std::string_view(hashes)));
  }
  return "trainers of the job=" + std::to_string(number_) + numbers + "\nparameters=" + hashes + "\n";
}

/// Errors: what the disk says, at all workers alike; or peer_lost.
Status Trainer::Run::write_checkpoint(const std::string& folder, int keep) {
  const Time began = steady_clock().now();
  note_operation("write a checkpoint after step", done_);
  others_ = living_trainers(job_);
  std::erase_if(others_, [this](const Run* r) { return r == this || !r->broken_.ok(); });
  COHAUL_TRY(meetings_.meet("save_checkpoint()", asynchronous() ? 0 : done_, checkpoint_facts()));
  COHAUL_TRY(count_all());
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
  if (loop_.running() && asynchronous())
    throw Error(
        invalid("save_checkpoint() within an asynchronous loop: workers are in different steps there; give the loop "
                "FitOptions::checkpoint"));
  const Status written = write_checkpoint(absolute_path(folder), std::numeric_limits<int>::max());
  if (written.code() == Code::peer_lost) broken_ = written;
  or_throw(written);
}

// ---- of a loop

/// What the disk says is reported, and training goes on.
Status Trainer::Run::checkpoint_of_loop(const CheckpointOptions& options) {
  expect_checkpoints();
  if (requests_) requests_->checkpoint_begins();
  Status written = write_checkpoint(absolute_path(options.folder), options.keep);
  checkpoint_at_ = steady_clock().now();
  if (written.ok() || written.code() == Code::invalid) return written;
  broken_ = written;
  throw Error(written);
}

/// Whether the loop that runs has checkpoints.
bool Trainer::Run::takes_checkpoints() const {
  return loop_.running() && !loop_.options().checkpoint.folder.empty() && !somebody_left_;
}

void Trainer::Run::begin_checkpoints() {
  somebody_left_ = false;
  workers_left_.assign(static_cast<std::size_t>(job_.world()), 0);
  finished_step_.reset();
  checkpoint_at_ = steady_clock().now();
  if (takes_checkpoints()) {
    const Status held = hold(absolute_path(loop_.options().checkpoint.folder));
    // A disk that cannot be written is told with each checkpoint, and may be mended.
    or_throw(agree(meetings_.group() + "/folder/" + std::to_string(checkpoints_++),
                   held.code() == Code::unavailable ? invalid(held.message()) : Status()));
  }
  if (has_rounds()) begin_round();
  requests_.emplace(takes_checkpoints());
}

/// What this worker's end of a step, or of a round, says.
std::uint8_t Trainer::Run::request() {
  const std::uint8_t pending = requests_ && loop_.running() ? requests_->pending() : 0;
  if (takes_checkpoints()) {
    const double every_s = loop_.options().checkpoint.every_s;
    const bool late = every_s > 0 && job_.rank() == 0 && steady_clock().now() - checkpoint_at_ >= seconds(every_s);
    return pending == 0 && late ? job::kCheckpointRequest : pending;
  }
  if (pending == 0) return 0;
  requests_->checkpoint_begins();
  if (!std::exchange(warned_, true))
    observe::Progress(2).say("SIGUSR1: no checkpoint is written, since this loop has no folder for them");
  return 0;
}

/// After a step that all workers count alike, when the program has done with it what it wanted.
void Trainer::Run::checkpoint_if_due() {
  const std::optional<std::uint8_t> request = std::exchange(finished_step_, std::nullopt);
  if (!request || !takes_checkpoints()) return;
  const CheckpointOptions options = loop_.options().checkpoint;
  const bool by_count = options.every > 0 && (done_ - loop_.first()) % options.every == 0;
  const bool due = done_ < loop_.last() && (by_count || *request != 0);  // the end of the loop writes one anyhow
  if (!due && !job::is_stop(*request)) return;
  const Status written = checkpoint_of_loop(options);
  if (job::is_stop(*request)) stop_for(*request, absolute_path(options.folder), written);
}

// ---- rounds of asynchronous loops

// What a worker says at the end of a round, but for its request.
constexpr const char *kLeft = "left", *kStopped = "stopped";

/// Workers of an asynchronous loop count no steps alike. So it is cut into rounds, each a loop of the engine's: at the end of one everything is at
/// rest, all workers meet, and a checkpoint may be written. A request ends the round for all.
bool Trainer::Run::has_rounds() const { return asynchronous() && takes_checkpoints(); }

void Trainer::Run::begin_round() {
  const std::int64_t every = loop_.options().checkpoint.every, done = done_ - loop_.first();
  const std::int64_t due = every > 0 && !somebody_left_ ? loop_.first() + (done / every + 1) * every : loop_.last();
  loop_.begin_round(done_, std::min(due, loop_.last()));
}

std::string Trainer::Run::round_key(int worker) const {
  return meetings_.group() + "/round/" + std::to_string(loop_.round()) + "/" + std::to_string(worker);
}

/// Blocks until all workers that are in the loop are at the end of the round.
Trainer::Run::Round Trainer::Run::meet_round(const std::string& mine) {
  or_throw(say(round_key(job_.rank()), mine));
  Round round;
  for (int r = 0; r < job_.world(); ++r) {
    if (workers_left_[static_cast<std::size_t>(r)]) continue;
    const std::string theirs = or_throw(hear(r, round_key(r)));
    if (theirs == kStopped) round.stopped = true;
    else if (theirs == kLeft) workers_left_[static_cast<std::size_t>(r)] = 1;
    else round.request = std::max(round.request, static_cast<std::uint8_t>(std::stoi(theirs)));
  }
  or_throw(count_all());
  somebody_left_ = std::ranges::count(workers_left_, 0) < job_.world();
  return round;
}

/// Asynchronous modes: the updates of all workers, who are at rest.
Status Trainer::Run::count_all() {
  if (!asynchronous()) return {};
  COHAUL_TRY(engine_->leave_loop(false, false));
  done_ = engine_done();
  return {};
}

/// The engine has no step more of the round. Returns whether the loop has.
bool Trainer::Run::next_round() {
  if (!has_rounds()) return false;
  const CheckpointOptions options = loop_.options().checkpoint;
  const Round round = meet_round(std::to_string(request()));
  if (somebody_left_) {  // without it there is no checkpoint
    requests_.emplace(false);
    job::Requests::suffer();
  }
  if (round.stopped || (somebody_left_ && done_ < loop_.round_last())) return false;
  if (!somebody_left_ && (done_ < loop_.last() || job::is_stop(round.request))) {
    const Status written = checkpoint_of_loop(options);
    if (job::is_stop(round.request)) stop_for(round.request, absolute_path(options.folder), written);
  }
  if (done_ >= loop_.last()) return false;
  begin_round();
  return true;
}

/// This worker leaves the loop. stop: so do all, and come here.
void Trainer::Run::leave_round(bool stop) {
  if (stop) (void)meet_round(kStopped);
  else or_throw(say(round_key(job_.rank()), std::string(kLeft)));
  somebody_left_ |= !stop;
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

}  // namespace cohaul::train
