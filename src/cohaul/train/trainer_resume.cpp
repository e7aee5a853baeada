// Trainer::resume(): continuing from a checkpoint.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <utility>

#include "cohaul/base/digits.h"
#include "cohaul/base/facts.h"
#include "cohaul/base/last_operations.h"
#include "cohaul/checkpoint/folder.h"
#include "cohaul/checkpoint/state_file.h"
#include "cohaul/checkpoint/worker_file.h"
#include "cohaul/train/tensor_files.h"
#include "cohaul/train/trainer_impl.h"

namespace cohaul::train {
namespace {

std::string without_line(std::string_view facts, std::string_view name) {
  std::string out;
  std::istringstream in{std::string(facts)};
  for (std::string line; std::getline(in, line);)
    if (!line.starts_with(std::string(name) + "=")) out += line + "\n";
  return out;
}

}  // namespace

std::string absolute_path(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::absolute(path, ignored).lexically_normal().string();
}

/// Returns the checkpoint's folder, or the folder of this trainer's part in it, the same at all workers; empty if there is none.
std::string Trainer::Impl::find_checkpoint(const std::string& folder) {
  const std::string key = meetings_.group() + "/resume/" + std::to_string(checkpoints_++);
  if (job_.rank() != 0) return or_throw(hear(0, key));
  checkpoint::Found found = checkpoint::find(folder);
  Status wrong;
  const std::string part = found.path + "/" + checkpoint::trainer_name(number_);
  if (!found.path.empty() && found.manifest.trainer != number_ && std::filesystem::exists(part)) {
    found.path = part;
    Result<checkpoint::Manifest> manifest = checkpoint::read_manifest(part);
    wrong = manifest.status();
    if (manifest.ok()) found.manifest = *std::move(manifest);
  }
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

void Trainer::Impl::expect_fits(const checkpoint::Manifest& saved, const std::string& path) const {
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
  const std::string rule = optimizer_name();
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

void Trainer::Impl::load_best(const checkpoint::Manifest& saved, const std::string& path) {
  const auto named = [](const checkpoint::FileEntry& f) { return f.name == checkpoint::kBestName; };
  if (job_.rank() != 0 || std::ranges::none_of(saved.files, named)) return;
  best_ = copy_of_all();
  or_throw(load_tensors(best_, path + "/" + checkpoint::kBestName));
}

/// Restores parameters and optimizer state. All workers call it.
Status Trainer::Impl::restore_parameters(const std::string& path, std::int64_t updates) {
  const auto meet = [&] { return meetings_.meet("resume()", done_); };
  if (optimizer_) return engine_->restore(path, updates, meet, soon()).context(path);
  COHAUL_ASSIGN(const checkpoint::SavedState saved, checkpoint::SavedState::open(path));
  std::vector<std::byte> flat(model_->layout().bytes());
  model_->copy_to(flat);
  std::int64_t count = updates;
  for (const update::StatePiece& p : own_parameters(flat, count)) {
    const std::string& name = model_->layout().parameters()[static_cast<std::size_t>(p.parameter)].name;
    COHAUL_TRY(saved.restore(name, p).context(path));
  }
  model_->copy_from(flat);
  return meet();
}

/// Restores the program's values, and the random generator if the number of workers is the same. If it is not, all workers get worker 0's values.
void Trainer::Impl::restore_worker(const checkpoint::Manifest& saved, const std::string& path) {
  const bool as_many = saved.workers == job_.world();
  const checkpoint::WorkerState state = or_throw(checkpoint::read_worker(path, as_many ? job_.rank() : 0));
  for (auto& [name, value] : values_) value.clear();  // cleared, not erased, so that references to values stay valid
  for (const auto& [name, value] : state.values) values_[name] = value;
  if (!as_many) return;
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  if (static_cast<std::size_t>(generator.get_state().nbytes()) != state.generator.size())
    throw Error(invalid(path + ": the random generator of worker " + std::to_string(job_.rank()) +
                        " is of another version of LibTorch"));
  const at::Tensor bytes = at::empty({static_cast<std::int64_t>(state.generator.size())}, at::kByte);
  std::memcpy(bytes.mutable_data_ptr(), state.generator.data(), state.generator.size());
  generator.set_state(bytes);
}

std::int64_t Trainer::Impl::resume(const std::string& folder) {
  expect_checkpoints();
  if (done_ > 0 || loop_.number() > 0 || work_)
    throw Error(invalid("resume() comes before the trainer's first step and loop"));
  note_operation("resume");
  or_throw(meetings_.meet("resume()", done_));
  const std::string path = find_checkpoint(absolute_path(folder));
  if (path.empty()) return 0;
  own_folder_.clear();
  const checkpoint::Manifest saved = or_throw(checkpoint::read_manifest(path));
  expect_fits(saved, path);
  if (optimizer_)
    // Parameters that the program has loaded before are replaced by the checkpoint's, not the other way round.
    follow_changes();
  or_throw(restore_parameters(path, saved.updates));
  if (!model_->buffers().empty()) or_throw(load_tensors(model_->buffers(), path + "/" + checkpoint::kBuffersName));
  buffers_->remember();
  restore_worker(saved, path);
  load_best(saved, path);
  model_->updated([](std::int32_t) { return true; });
  model_->settled();
  if (!saved.rates.empty()) set_rates(saved.rates);
  offset_ = done_ = saved.updates;
  loop_.set_offset(offset_);
  resumed_ = saved.loop;
  return done_;
}

/// Called when a loop has begun: moves it to the place where the checkpoint was, if the former run had done it or a part of it.
void Trainer::Impl::go_on_with_loop() {
  if (!resumed_ || loop_.number() > resumed_->number) return;
  if (loop_.number() < resumed_->number) return loop_.go_on(done_, done_, true);
  or_throw(compare_facts(without_line(resumed_->facts, "steps"), "the checkpoint", without_line(loop_.facts(), "steps"),
                         "this run"));
  const bool left = !resumed_->running && done_ < resumed_->last;
  loop_.go_on(resumed_->first, done_, left);
}

}  // namespace cohaul::train
