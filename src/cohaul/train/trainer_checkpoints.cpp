// Checkpoints of a trainer: how they are written between steps.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <sstream>
#include <utility>

#include "cohaul/base/hash.h"
#include "cohaul/base/last_operations.h"
#include "cohaul/checkpoint/folder.h"
#include "cohaul/checkpoint/state_file.h"
#include "cohaul/checkpoint/worker_file.h"
#include "cohaul/job/control.h"
#include "cohaul/observe/progress.h"
#include "cohaul/train/tensor_files.h"
#include "cohaul/train/trainer_impl.h"

namespace cohaul::train {
/// Returns worker 0's outcome at all workers.
Status Trainer::Impl::agree(const std::string& key, const Status& mine) {
  if (job_.rank() != 0) return hear(0, key).status();
  COHAUL_TRY(say(key, mine.ok() ? Result<std::string>(std::string()) : mine));
  return mine;
}

void Trainer::Impl::expect_checkpoints() {
  expect_usable();
  settle();
  expect_own_values("a checkpoint");
}

// ---- writing

std::string Trainer::Impl::optimizer_name() const {
  return optimizer_ ? std::string(update::name(optimizer_->rule.kind)) : "the program's own";
}

checkpoint::Manifest Trainer::Impl::manifest() const {
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
  // This run has not reached that loop again yet.
  if (resumed_ && loop_.number() < resumed_->number) m.loop = *resumed_;
  m.parameters = model_->entries();
  return m;
}

/// Returns the parameters as pieces of a flat area, for a trainer without an optimizer. count: set to the number of their updates.
std::vector<update::StatePiece> Trainer::Impl::own_parameters(Bytes flat, std::int64_t& count) const {
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

/// Copies the parameters of a trainer without an optimizer. They are the same at all workers, so worker 0 does.
Result<std::vector<checkpoint::FileImage>> Trainer::Impl::copy_own_parameters() {
  std::vector<checkpoint::FileImage> images;
  if (job_.rank() != 0) return images;
  std::vector<std::byte> flat(model_->layout().bytes());
  model_->copy_to(flat);
  std::int64_t count = done_;
  COHAUL_ASSIGN(checkpoint::FileImage image,
                checkpoint::state_image(copies_, std::string(checkpoint::kOwnerPrefix) + "0.safetensors",
                                        model_->layout(), own_parameters(flat, count)));
  images.push_back(std::move(image));
  return images;
}

/// Copies what this worker writes of the part. Servers copy what they keep.
Status Trainer::Impl::copy_mine(CheckpointPart& part) {
  COHAUL_ASSIGN(part.images,
                optimizer_ ? engine_->save(copies_, part.folder, server_key(part.key)) : copy_own_parameters());
  part.servers = optimizer_ ? engine_->saving_servers() : 0;
  const at::Tensor generator = at::detail::getDefaultCPUGenerator().get_state();
  const checkpoint::WorkerState state{
      values_, {static_cast<const char*>(generator.const_data_ptr()), static_cast<std::size_t>(generator.nbytes())}};
  COHAUL_ASSIGN(checkpoint::FileImage own, checkpoint::worker_image(copies_, job_.rank(), state));
  part.images.push_back(std::move(own));
  if (job_.rank() != 0) return {};
  const auto add = [&](const char* name, const NamedTensors& tensors) -> Status {
    if (tensors.empty()) return {};
    COHAUL_ASSIGN(checkpoint::FileImage image, image_of(copies_, name, tensors));
    part.images.push_back(std::move(image));
    return {};
  };
  COHAUL_TRY(add(checkpoint::kBuffersName, model_->buffers()));
  return add(checkpoint::kBestName, best_);
}

/// Checks that the folder has no other run's or trainer's checkpoints, since a later run could not tell from which to continue.
Status Trainer::Impl::expect_own_folder(const std::string& folder) {
  if (own_folder_ == folder) return {};
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
  own_folder_ = folder;
  return {};
}

/// Locks the folder at worker 0, until the trainer ends or takes another folder.
Status Trainer::Impl::hold(const std::string& folder) {
  if (job_.rank() != 0 || (lock_ && lock_->folder() == folder)) return {};
  COHAUL_ASSIGN(lock_, checkpoint::FolderLock::take(folder));
  new_mark_ = lock_->mark();
  return {};
}

/// Lets all workers agree on the folder. mine: at worker 0, whether it may write into it. If worker 0 has just locked it, the others check that they
/// see the same folder. Errors: the same at all workers.
Status Trainer::Impl::agree_on_folder(const std::string& key, const std::string& folder, const Status& mine) {
  std::string mark = std::exchange(new_mark_, {});
  if (job_.rank() == 0) {
    COHAUL_TRY(say(key, mine.ok() ? Result<std::string>(mark) : mine));
    COHAUL_TRY(mine);
  } else {
    COHAUL_ASSIGN(mark, hear(0, key));
  }
  if (mark.empty()) return {};
  const auto seen_by = [&](int rank) { return key + "/seen/" + std::to_string(rank); };
  if (job_.rank() != 0) {
    const Status seen = checkpoint::expect_shared(folder, mark).context("worker " + std::to_string(job_.rank()));
    COHAUL_TRY(say(seen_by(job_.rank()), seen.ok() ? Result<std::string>(std::string()) : seen));
    return agree(key + "/shared", {});
  }
  Status shared;
  for (int r = 1; r < job_.world(); ++r) {
    const Status seen = hear(r, seen_by(r)).status();
    if (shared.ok()) shared = seen;
  }
  if (shared.ok() && optimizer_) shared = engine_->look(folder, mark);
  if (!shared.ok()) lock_.reset();  // it must be checked again
  return agree(key + "/shared", shared);
}

/// Copies this trainer's part, at all workers, of the checkpoint that another trainer writes into `folder`.
Status Trainer::Impl::copy_part(CheckpointPart& part, const std::string& folder, bool at_rest) {
  part.key = meetings_.group() + "/checkpoint/" + std::to_string(checkpoints_++);
  part.folder = folder + "/" + checkpoint::trainer_name(number_);
  Status begun;
  if (work_ && slice_ != work_->slices.first)
    begun = invalid("trainer " + std::to_string(number_) + " of the job is within a step");
  else if (averaged_) begun = invalid("trainer " + std::to_string(number_) + " of the job is within with_ema(f)");
  else if (asynchronous() && loop_.running())
    begun = invalid("trainer " + std::to_string(number_) + " of the job is within an asynchronous loop");
  else if (at_rest && job_.rank() == 0) begun = checkpoint::begin_part(part.folder);
  if (at_rest) COHAUL_TRY(agree(part.key + "/begun", begun));
  if (at_rest) COHAUL_TRY(begun);
  COHAUL_TRY(count_all());
  part.manifest = manifest();
  part.copied = begun.ok() ? copy_mine(part) : begun;
  return part.copied.code() == Code::peer_lost ? part.copied : Status();
}

/// Copies the parts of all trainers, which are between the same two steps. at_rest: all workers have met; when it returns, they have agreed on the
/// result.
Status Trainer::Impl::copy_all(CheckpointPlan& plan, bool at_rest) {
  CheckpointPart& whole = plan.whole;
  whole.key = meetings_.group() + "/checkpoint/" + std::to_string(checkpoints_++);
  whole.folder = plan.folder + "/" + checkpoint::folder_name(done_) + checkpoint::kUnfinished;
  whole.manifest = manifest();
  if (job_.rank() == 0) plan.wrong = expect_own_folder(plan.folder);
  if (plan.wrong.ok()) plan.wrong = hold(plan.folder);
  if (plan.wrong.code() == Code::unavailable) plan.wrong = invalid(plan.wrong.message());
  plan.begins = !at_rest;
  if (at_rest) {
    if (job_.rank() == 0 && plan.wrong.ok()) plan.wrong = checkpoint::begin(plan.folder, done_).status();
    COHAUL_TRY(agree_on_folder(whole.key + "/begun", plan.folder, plan.wrong));
  }
  for (Impl* other : others_) COHAUL_TRY(other->copy_part(plan.parts.emplace_back(), whole.folder, at_rest));
  whole.copied = copy_mine(whole);
  if (whole.copied.code() == Code::peer_lost) return whole.copied;
  // If a worker went on now, it would change what servers have not copied yet and other workers have not counted.
  return at_rest ? meetings_.meet("save_checkpoint()", asynchronous() ? 0 : done_) : Status();
}

/// Returns the facts that all workers must have alike before they write.
std::string Trainer::Impl::checkpoint_facts() {
  std::string numbers, hashes;
  for (const Impl* other : others_) numbers += "," + std::to_string(other->number_);
  if (!optimizer_) {
    std::vector<std::byte> flat(model_->layout().bytes());
    model_->copy_to(flat);
    std::int64_t count = done_;
    for (const update::StatePiece& p : own_parameters(flat, count)) hashes += hash128(p.values);
    hashes = hash128(as_bytes(std::string_view(hashes)));
  }
  return "trainers of the job=" + std::to_string(number_) + numbers + "\nparameters=" + hashes + "\n";
}

/// Begins a checkpoint: returns when everything is copied, and writes it in the background. Workers meet only where they do not have all that they
/// copy, or do not count steps alike. Errors: those of the disk, the same at all workers; or peer_lost.
Status Trainer::Impl::begin_checkpoint(const std::string& folder, int keep, Wait wait) {
  (void)finish_checkpoint().ok();  // the checkpoint before
  checkpoint_begun_ = steady_clock().now();
  note_operation("copy for a checkpoint after step", done_);
  others_ = living_trainers(job_);
  std::erase_if(others_, [this](const Impl* r) { return r == this || !r->broken_.ok(); });
  const auto has_servers = [](const Impl* r) { return r->engine_->saving_servers() > 0; };
  const bool at_rest = wait == Wait::yes || has_servers(this) || std::ranges::any_of(others_, has_servers);
  CheckpointPlan plan;
  plan.folder = folder;
  plan.keep = keep;
  plan.facts = checkpoint_facts();
  if (at_rest) COHAUL_TRY(meetings_.meet("save_checkpoint()", asynchronous() ? 0 : done_, plan.facts));
  COHAUL_TRY(count_all());
  const Status copied = copy_all(plan, at_rest);
  if (job_.rank() == 0) {
    checkpoint_told_ =
        observe::Event{"checkpoint", {{"step", done_}, {"path", folder + "/" + checkpoint::folder_name(done_)}}};
    checkpoint_told_->add("held_s", static_cast<double>(steady_clock().now() - checkpoint_begun_) / 1e9);
  }
  if (copied.ok()) {
    writer_.start(std::move(plan));
    return {};
  }
  if (checkpoint_told_) checkpoint_told_->add("error", copied.message());
  if (checkpoint_told_) telling_.tell(*std::exchange(checkpoint_told_, std::nullopt));
  return copied;
}

/// Blocks until the checkpoint that is being written is on the disk. Returns its outcome at worker 0.
Status Trainer::Impl::finish_checkpoint() {
  if (!writer_.is_writing()) return {};
  const WrittenCheckpoint written = writer_.finish();
  if (std::optional<observe::Event> told = std::exchange(checkpoint_told_, std::nullopt)) {
    if (written.status.ok()) told->add("bytes", static_cast<std::int64_t>(written.bytes));
    told->add("seconds", static_cast<double>(written.at - checkpoint_begun_) / 1e9);
    if (!written.status.ok()) told->add("error", written.status.message());
    telling_.tell(*told);
  }
  return written.status;
}

/// Writes a checkpoint, and blocks until it is on the disk. Errors: those of begin_checkpoint().
Status Trainer::Impl::write_checkpoint(const std::string& folder, int keep) {
  COHAUL_TRY(begin_checkpoint(folder, keep, Wait::yes));
  note_operation("write a checkpoint after step", done_);
  const std::string key = meetings_.group() + "/checkpoint/" + std::to_string(checkpoints_++) + "/done";
  return agree(key, finish_checkpoint());
}

void Trainer::Impl::save_checkpoint(const std::string& folder) {
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

// ---- checkpoints of a loop

/// Writes a checkpoint of the loop. An error of the disk is reported, and training goes on.
Status Trainer::Impl::checkpoint_of_loop(const CheckpointOptions& options, Wait wait) {
  expect_checkpoints();
  if (requests_) requests_->checkpoint_begins();
  const std::string folder = absolute_path(options.folder);
  Status written =
      wait == Wait::yes ? write_checkpoint(folder, options.keep) : begin_checkpoint(folder, options.keep, wait);
  checkpoint_at_ = steady_clock().now();
  if (written.ok() || written.code() == Code::invalid) return written;
  broken_ = written;
  throw Error(written);
}

/// Returns whether the current loop writes checkpoints.
bool Trainer::Impl::takes_checkpoints() const {
  return loop_.running() && !loop_.options().checkpoint.folder.empty() && !somebody_left_;
}

void Trainer::Impl::begin_checkpoints() {
  somebody_left_ = false;
  workers_left_.assign(static_cast<std::size_t>(job_.world()), 0);
  finished_step_.reset();
  checkpoint_at_ = steady_clock().now();
  if (takes_checkpoints()) {
    const std::string folder = absolute_path(loop_.options().checkpoint.folder);
    const Status held = hold(folder);
    // If the disk cannot be written, that is reported with each checkpoint, because it may be repaired meanwhile.
    or_throw(agree_on_folder(meetings_.group() + "/folder/" + std::to_string(checkpoints_++), folder,
                             held.code() == Code::unavailable ? invalid(held.message()) : Status()));
  }
  if (has_rounds()) begin_round();
  requests_.emplace(takes_checkpoints());
}

/// Returns the request that this worker sends with its end of a step or round.
std::uint8_t Trainer::Impl::request() {
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

/// Writes a checkpoint if one is due. Called between steps that all workers count alike, when the program has finished its work on the last one.
void Trainer::Impl::checkpoint_if_due() {
  if (writer_.is_done()) (void)finish_checkpoint().ok();
  const std::optional<std::uint8_t> request = std::exchange(finished_step_, std::nullopt);
  if (!request || !takes_checkpoints()) return;
  const CheckpointOptions options = loop_.options().checkpoint;
  const bool by_count = options.every > 0 && (done_ - loop_.first()) % options.every == 0;
  // One is written at the end of the loop anyway.
  const bool due = done_ < loop_.last() && (by_count || *request != 0);
  if (!due && !job::is_stop(*request)) return;
  const Status written = checkpoint_of_loop(options, job::is_stop(*request) ? Wait::yes : Wait::no);
  if (job::is_stop(*request)) stop_for(*request, absolute_path(options.folder), written);
}

// ---- rounds of asynchronous loops

// A worker's texts at the end of a round, other than a request.
constexpr const char *kLeft = "left", *kStopped = "stopped";

/// Returns whether the loop has rounds. Workers of an asynchronous loop do not count the same steps, so with checkpoints the loop is cut into rounds,
/// each a loop of the engine. At the end of a round no step is under way, all workers meet, and a checkpoint may be written. A request ends the round
/// for all.
bool Trainer::Impl::has_rounds() const { return asynchronous() && takes_checkpoints(); }

void Trainer::Impl::begin_round() {
  const std::int64_t every = loop_.options().checkpoint.every, done = done_ - loop_.first();
  const std::int64_t due = every > 0 && !somebody_left_ ? loop_.first() + (done / every + 1) * every : loop_.last();
  loop_.begin_round(done_, std::min(due, loop_.last()));
}

std::string Trainer::Impl::round_key(int worker) const {
  return meetings_.group() + "/round/" + std::to_string(loop_.round()) + "/" + std::to_string(worker);
}

/// Blocks until all workers of the loop are at the end of the round.
Trainer::Impl::Round Trainer::Impl::meet_round(const std::string& mine) {
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

/// Asynchronous modes: counts the updates of all workers, when no step is under way.
Status Trainer::Impl::count_all() {
  if (!asynchronous()) return {};
  COHAUL_TRY(engine_->leave_loop(false, false));
  done_ = engine_done();
  return {};
}

/// Goes on to the next round, when the engine has no step of this one left. Returns whether the loop has one.
bool Trainer::Impl::next_round() {
  if (!has_rounds()) return false;
  const CheckpointOptions options = loop_.options().checkpoint;
  const Round round = meet_round(std::to_string(request()));
  if (somebody_left_) {  // without that worker no checkpoint is possible
    requests_.emplace(false);
    job::Requests::suffer();
  }
  if (round.stopped || (somebody_left_ && done_ < loop_.round_last())) return false;
  if (!somebody_left_ && (done_ < loop_.last() || job::is_stop(round.request))) {
    const Status written = checkpoint_of_loop(options, job::is_stop(round.request) ? Wait::yes : Wait::no);
    if (job::is_stop(round.request)) stop_for(round.request, absolute_path(options.folder), written);
  }
  if (done_ >= loop_.last()) return false;
  begin_round();
  return true;
}

/// Leaves the loop. stop: all workers leave it, and meet here.
void Trainer::Impl::leave_round(bool stop) {
  if (stop) (void)meet_round(kStopped);
  else or_throw(say(round_key(job_.rank()), std::string(kLeft)));
  somebody_left_ |= !stop;
}

void Trainer::Impl::stop_for(std::uint8_t request, const std::string& folder, const Status& written) {
  const std::string what = "stopped by " + job::signal_name(request) + " after step " + std::to_string(done_) + "; " +
                           (written.ok() ? "checkpoint: " + folder + "/" + checkpoint::folder_name(done_)
                                         : "its checkpoint could not be written: " + written.message());
  requests_->stopping();
  requests_.reset();
  telling_.end_loop(done_ - loop_.start());
  loop_.end();
  or_throw(close());  // all workers are here
  if (job_.rank() == 0 && job_.options().launched)
    or_throw(job_.set(job::kStoppedKey, std::to_string(request) + " " + what));
  throw Stopped(what, request);
}

/// Ends requests of the loop. A request to stop that came after its last step began ends the process, since no loop takes it.
void Trainer::Impl::end_requests() {
  requests_.reset();
  job::Requests::suffer();
}

}  // namespace cohaul::train
