# The public headers, below src/cohaul: they alone are installed. ./dev tidy checks that they are what the faces include, directly or not.

# Of Cohaul::core. The face is core.h.
set(COHAUL_CORE_HEADERS
  core.h
  base/check.h
  base/clock.h
  base/dtype.h
  base/error.h
  base/exit_code.h
  base/status.h
  base/wall_clock.h
  base/watch.h
  collective/group.h
  collective/workers.h
  job/job.h
  observe/csv.h
  observe/event.h
  observe/output.h
  observe/progress.h
  observe/record.h
  observe/tensorboard.h
  transport/credentials.h
  transport/options.h)

# Of Cohaul::cohaul, which has those of Cohaul::core, too. The face is cohaul.h; a program that needs them also includes those of parallel/, of which
# two are slow to compile.
set(COHAUL_TORCH_HEADERS
  cohaul.h
  cli/worker_main.h
  data/accuracy.h
  data/data_set.h
  data/images.h
  data/open.h
  data/torch_data.h
  model/settings.h
  parallel/factory.h
  parallel/linear.h
  parallel/split.h
  parallel/sync_batch_norm.h
  parallel/whole_batch.h
  strategy/strategy.h
  train/error.h
  train/model.h
  train/optimizer.h
  train/run.h
  train/step_times.h
  train/trainer.h
  train/weights.h
  update/gradient_policy.h
  update/rule_settings.h
  update/schedule.h)
