#pragma once
// The implementation of Trainer. A step goes so: follow the user's changes to the model, open_step() (which slices), backward() of each slice
// (gradients are pushed), end_step() (the update arrives and is reported).

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cohaul/checkpoint/lock.h"
#include "cohaul/checkpoint/manifest.h"
#include "cohaul/gradient/reducer.h"
#include "cohaul/job/requests.h"
#include "cohaul/train/borrowed_model.h"
#include "cohaul/train/checkpoint_writer.h"
#include "cohaul/train/meetings.h"
#include "cohaul/train/sample_loop.h"
#include "cohaul/train/step_buffers.h"
#include "cohaul/train/telling.h"
#include "cohaul/train/trainer.h"
#include "cohaul/transport/arena.h"
#include "cohaul/update/tree_fold.h"

namespace cohaul::train {

/// Returns the absolute path, by which checkpoints name files.
std::string absolute_path(const std::string& path);

class Trainer::Impl : public std::enable_shared_from_this<Trainer::Impl> {
 public:
  static std::shared_ptr<Impl> make(job::Job& job, Model model, const strategy::Strategy& strategy,
                                    std::optional<Optimizer> optimizer, const TrainerOptions& options);
  ~Impl();

  void fit(const data::DataSet& set, const Loss& loss, const FitOptions& options);
  std::int64_t begin_loop(const data::DataSet& set, const FitOptions& options);
  std::optional<data::Batch> next_batch(std::int64_t loop);
  /// Called when the loop's Batches are destroyed early. The loop is left at the next use of the trainer.
  void left(std::int64_t loop);
  void stop();
  StepResult step(const at::Tensor& loss, const StepOptions& options, bool average);
  void write(const std::function<void()>& f);
  void plateau(double loss);
  void with_ema(const std::function<void()>& f);
  void set_lr(std::optional<std::size_t> group, double lr);
  Evaluation evaluate(const data::DataSet& set, const Loss& loss, const Metrics& metrics, std::int64_t batch);
  void save_checkpoint(const std::string& folder);
  std::int64_t resume(const std::string& folder);
  std::string& value(const std::string& name);
  NamedTensors parameters();
  void save(const std::string& path);
  Status close();
  /// Releases everything, without messages to others that could block. Idempotent.
  void end();

  strategy::Engine& engine();
  std::int64_t done() const { return done_; }
  const StepTimes& times() const { return telling_.times(); }

  /// Returns the job's trainers in this process, in the order in which they were made.
  static std::vector<Impl*> living_trainers(const job::Job& job);

 private:
  struct EndsWithJob;
  struct Living;
  Impl(job::Job& job, std::optional<Optimizer> optimizer, const TrainerOptions& options);
  void set_up(Model model, const strategy::Strategy& strategy);
  void expect_one_slice_each(const strategy::Strategy& strategy) const;
  void expect_watchable(const strategy::Strategy& strategy) const;
  std::size_t parts_max() const;
  std::vector<strategy::Place> places() const;
  void broadcast_first_parameters();
  void expect_usable();
  void expect_ownership();
  void leave_loop(bool stop);
  void settle();
  void follow_changes();
  void set_rates(const std::vector<double>& rates);
  bool has_plateau() const { return optimizer_ && optimizer_->schedule.kind == Schedule::Kind::plateau; }
  void expect_between_steps(const std::string& call) const;
  void expect_own_values(const std::string& call) const;
  void swap_averages();
  void expect_equal_replacements(const std::string& parameter);
  enum class Spread { changed, equal };  // equal: the values are known to be the same at all workers
  void spread_parameters(Spread what);
  bool open_step_of_loop();
  bool open_step();
  void prepare_step();
  void begin_step();
  double weight_of(std::int32_t slice, const StepOptions& options) const;
  void backward(const at::Tensor& loss, const StepOptions& options);
  void drop_step();
  void give_up_backward();
  StepResult end_step();
  void leave_mean_gradients();
  Buffers buffers_policy(const strategy::Strategy& strategy) const;
  void explain_counters();
  void broadcast_counters();
  std::vector<double> evaluate_batches(const data::DataSet& set, const Loss& loss, const Metrics& metrics,
                                       std::int64_t batch, std::int64_t first, std::int64_t last);
  std::vector<double> gather(const std::string& key, const std::vector<double>& mine);
  // Evaluations within fit() (trainer_fit.cpp).
  void expect_evaluations(const FitOptions& options) const;
  void begin_evaluations();
  bool evaluation_is_due(const EvaluationOptions& options) const;
  bool evaluate_and_judge(const EvaluationOptions& options, const Loss& loss);
  NamedTensors copy_of_all();
  void restore_best(std::int64_t loop, bool averages);
  double best_loss() const;
  // Exchange of texts, or errors, between workers through the job's store.
  Status say(const std::string& key, const Result<std::string>& what);
  Result<std::string> hear(int worker, const std::string& key);
  // Checkpoints (trainer_checkpoints.cpp).
  Status agree(const std::string& key, const Status& mine);
  void expect_checkpoints();
  Status expect_own_folder(const std::string& folder);
  Status hold(const std::string& folder);
  Status agree_on_folder(const std::string& key, const std::string& folder, const Status& mine);
  std::string optimizer_name() const;
  std::string checkpoint_facts();
  std::vector<update::StatePiece> own_parameters(Bytes flat, std::int64_t& count) const;
  Result<std::vector<checkpoint::FileImage>> copy_own_parameters();
  Status copy_mine(CheckpointPart& part);
  Status copy_part(CheckpointPart& part, const std::string& folder, bool at_rest);
  Status copy_all(CheckpointPlan& plan, bool at_rest);
  enum class Wait { yes, no };  // whether to block until the checkpoint is on the disk
  Status begin_checkpoint(const std::string& folder, int keep, Wait wait);
  Status finish_checkpoint();
  Status write_checkpoint(const std::string& folder, int keep);
  checkpoint::Manifest manifest() const;
  bool takes_checkpoints() const;
  void begin_checkpoints();
  std::uint8_t request();
  void checkpoint_if_due();
  bool has_rounds() const;
  void begin_round();
  struct Round {
    bool stopped = false;      // a worker has called stop()
    std::uint8_t request = 0;  // the strongest request of all workers
  };
  std::string round_key(int worker) const;
  Round meet_round(const std::string& mine);
  Status count_all();
  bool next_round();
  void leave_round(bool stop);
  Status checkpoint_of_loop(const CheckpointOptions& options, Wait wait);
  [[noreturn]] void stop_for(std::uint8_t request, const std::string& folder, const Status& written);
  void end_requests();
  // Continuing from a checkpoint (trainer_resume.cpp).
  void load_best(const checkpoint::Manifest& saved, const std::string& path);
  std::string find_checkpoint(const std::string& folder);
  Status restore_parameters(const std::string& path, std::int64_t updates);
  void restore_worker(const checkpoint::Manifest& saved, const std::string& path);
  void expect_fits(const checkpoint::Manifest& saved, const std::string& path) const;
  void go_on_with_loop();
  void tell(double loss);
  /// Returns the updates done, including those before resume().
  std::int64_t engine_done() const { return offset_ + engine_->loop().done; }
  /// Returns the number of the engine's step, including the updates before resume().
  std::int64_t update_of(const update::Work& work) const { return offset_ + work.step.value; }
  bool asynchronous() const { return engine_->capabilities().asynchronous; }
  bool splits_layers() const { return job_.world() > 1 && engine_->capabilities().data_parallel == 1; }
  Time soon() const;

  job::Job& job_;
  const std::optional<Optimizer> optimizer_;
  const TrainerOptions options_;
  const int number_;      // number of this trainer in the job
  std::string strategy_;  // the strategy's name
  Meetings meetings_;
  std::unique_ptr<BorrowedModel> model_;
  transport::Arena small_;  // gradients of small buckets
  std::unique_ptr<strategy::Engine> engine_;
  std::unique_ptr<gradient::Reducer> reducer_;
  std::optional<StepBuffers> buffers_;
  std::uint64_t reducers_seen_ = 0;
  SampleLoop loop_;
  std::optional<job::Requests> requests_;  // while a loop runs
  bool warned_ = false;                    // about a request for a checkpoint that cannot be met
  Telling telling_;
  job::LastWordsId last_words_ = 0;

  // The open step.
  std::optional<update::Work> work_;
  std::vector<update::SliceRange> parts_;
  /// The next slice to be answered; the exchange's step begins with the backward of the first.
  std::int32_t slice_ = 0;
  std::vector<update::PartEnd> ends_;
  update::TreeFold<double> losses_;  // of the part
  double samples_ = 0;               // of the part
  bool batch_out_ = false;
  bool averaged_ = false;  // the parameters are averages: with_ema() runs
  at::Tensor weight_;      // the gradient that backward starts with; kept while its value stays
  double weight_value_ = -1;

  bool rates_by_hand_ = false;
  std::optional<update::Rates> rates_;  // learning rates of the optimizer's groups
  std::string new_rates_;               // the rates that set_lr() has set, as facts, until the next step is done

  static constexpr const char *kFitValues = "fit.", *kPlateau = "fit.plateau";
  std::map<std::string, std::string> values_;  // kept in checkpoints
  NamedTensors best_;  // at worker 0: parameters and buffers of the best evaluation, if they are kept

  std::int64_t done_ = 0;
  std::int64_t offset_ = 0;                        // updates before resume()
  std::optional<checkpoint::LoopEntry> resumed_;   // the loop that the checkpoint was in
  checkpoint::ImageMemory copies_;                 // memory of the copies for checkpoints
  std::optional<checkpoint::FolderLock> lock_;     // at worker 0: lock of the folder that it writes into
  std::vector<Impl*> others_;                      // other trainers of the job that are in the same checkpoint
  std::optional<observe::Event> checkpoint_told_;  // at worker 0: the event of the checkpoint that is being written
  Time checkpoint_begun_ = 0;
  std::string new_mark_;    // at worker 0: mark of the folder that it has just locked
  std::string own_folder_;  // a folder that is known to have no other run's checkpoints
  Time checkpoint_at_ = 0;  // when the last one of the loop was written, or the loop began
  std::optional<std::uint8_t>
      finished_step_;               // what all were asked for with a step that no checkpoint was written after yet
  std::vector<char> workers_left_;  // by worker: it has left the asynchronous loop
  bool somebody_left_ = false;      // then no more checkpoints are written
  std::int64_t writes_ = 0;         // number of writes by hand so far
  std::int64_t evaluations_ = 0;    // asked for so far
  std::int64_t checkpoints_ = 0;    // asked for so far
  std::int64_t left_loop_ = 0;      // number of a loop that was left and has still to be ended
  Status broken_;                   // why the trainer cannot be used any more
  bool ended_ = false;
  CheckpointWriter writer_;  // the last member, so it is destroyed before lock_
};

}  // namespace cohaul::train
