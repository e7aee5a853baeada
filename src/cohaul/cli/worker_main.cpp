#include "cohaul/cli/worker_main.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <dlfcn.h>
#include <torch/version.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <iostream>
#include <iterator>

#include "cohaul/base/failing_writes.h"
#include "cohaul/base/last_operations.h"
#include "cohaul/cli/failure.h"
#include "cohaul/collective/workers.h"
#include "cohaul/config/config.h"
#include "cohaul/data/open.h"
#include "cohaul/job/meeting.h"
#include "cohaul/job/member.h"
#include "cohaul/model/keys.h"
#include "cohaul/model/zoo.h"
#include "cohaul/observe/csv.h"
#include "cohaul/observe/format.h"
#include "cohaul/observe/progress.h"
#include "cohaul/observe/record.h"
#include "cohaul/observe/tensorboard.h"
#include "cohaul/parallel/factory.h"
#include "cohaul/strategy/keys.h"
#include "cohaul/train/groups.h"
#include "cohaul/train/job_options.h"
#include "cohaul/train/report.h"
#include "cohaul/train/run.h"
#include "cohaul/train/weights.h"

namespace cohaul::cli {
namespace {

using config::Config;

struct Arguments {
  bool check = false, quiet = false, goes_on = false;
  std::string job, record, csv, tensorboard, save;
};

Config read_job(const std::string& path) {
  std::ifstream in(path);
  if (!in) throw Error(invalid("--job " + path + ": cannot be opened; this program is started by `cohaul train`"));
  std::string text((std::istreambuf_iterator<char>(in)), {});
  return or_throw(Config::decode(text));
}

/// Returns the part of an exception's message that is for the user. LibTorch appends a trace of its own functions.
std::string first_line(const std::exception& e) {
  std::string text = e.what();
  return text.substr(0, text.find('\n'));
}

model::DataShape shape_of(const data::Images::Shape& images, int classes) {
  return {images.rows, images.columns, classes};
}

/// Makes a model of the user's table or of the zoo. `factory` must outlive it.
WorkerModel make_model(const Config& job, const ModelTable& own, parallel::Factory& factory,
                       const model::DataShape& data) {
  model::ModelSettings settings = model::settings_of(job);
  auto maker = own.find(settings.name);
  if (maker == own.end()) {
    model::fit_to_data(settings, data);
    auto entry = model::make(settings, factory);
    if (!entry.ok()) {
      std::string also;
      for (const auto& [name, m] : own) also += (also.empty() ? "; this program's own: " : ", ") + name;
      throw Error(job.mistake("model.name", std::string(entry.status().cause()) + also));
    }
    WorkerModel made{{}, entry->loss, entry->metrics};
    made.model.parameters = entry->parameters;
    made.model.buffers = entry->buffers;
    made.model.train = entry->train;
    made.model.split = entry->split;
    return made;
  }
  if (job.get<std::string>("strategy.name") == "tensor")
    throw Error(job.mistake(
        "strategy.name", "tensor splits layers that the factory makes (cohaul::parallel::Factory), and the model " +
                             settings.name + " of this program makes its own: choose all_reduce or parameter_server"));
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  generator.set_current_seed(settings.seed);
  WorkerModel made;
  try {
    made = maker->second(settings);
  } catch (const Error&) {
    throw;
  } catch (const std::exception& e) {
    throw Error(job.mistake("model.name", "this program could not make it: " + first_line(e)));
  }
  if (settings.init == "zero") {
    at::NoGradGuard no_grad;
    for (auto& [name, p] : made.model.parameters) p.zero_();
  }
  return made;
}

void load_initial(const Config& job, const WorkerModel& model) {
  auto path = job.find<std::string>("train.init");
  if (!path) return;
  Status loaded = train::load(model.model, *path);
  if (!loaded.ok()) throw Error(job.mistake("train.init", loaded.message()));
}

/// Checks that the model accepts the data's samples, with two empty ones.
void try_model(const Config& job, const WorkerModel& model, const data::Images::Shape& images) {
  at::NoGradGuard no_grad;
  data::Batch batch{at::zeros({2, 1, images.rows, images.columns}), at::zeros({2}, at::kLong)};
  try {
    model.model.train(false);
    model.loss(batch);
  } catch (const std::exception& e) {
    throw Error(job.mistake("model.name", "cannot take the data's images of " + std::to_string(images.rows) + "×" +
                                              std::to_string(images.columns) + " pixels: " + first_line(e)));
  }
}

void check_groups(const Config& job, const WorkerModel& model, const train::Optimizer& optimizer) {
  std::vector<std::vector<std::string>> names;
  for (const auto& [name, t] : model.model.parameters) names.push_back({name});
  for (std::size_t g = 0; g < optimizer.groups.size(); ++g) {
    const Status found = train::assign_groups(names, std::span(optimizer.groups).first(g + 1)).status();
    if (!found.ok()) throw Error(job.mistake("optimizer.group." + std::to_string(g) + ".match", found.message()));
  }
}

/// Also where LibTorch was loaded from: the library that holds one of its functions.
std::string version() {
  Dl_info info{};
  const bool found = ::dladdr(reinterpret_cast<const void*>(&at::get_num_threads), &info) != 0;
  return std::string("cohaul-worker " COHAUL_VERSION " (LibTorch " TORCH_VERSION ", ") + at::get_cpu_capability() +
         ", " + (found ? info.dli_fname : "from an unknown file") + ")";
}

void check(const Config& job, const ModelTable& own) {
  std::cout << "cohaul-worker " << COHAUL_VERSION << " (LibTorch " << TORCH_VERSION << ")" << std::endl;
  auto data = data::check(job.get<std::string>("data.name"), job.get_or("data.path", std::string()));
  if (!data.ok()) throw Error(job.mistake(job.has("data.path") ? "data.path" : "data.name", data.status().message()));
  const train::Optimizer optimizer =
      or_throw(train::optimizer_of(job, or_throw(train::fit_options_of(job, data->train.count)).steps));
  auto factory = parallel::whole_layers();
  WorkerModel model = make_model(job, own, *factory, shape_of(data->train, data->classes));
  load_initial(job, model);
  check_groups(job, model, optimizer);
  try_model(job, model, data->train);
}

observe::Event start_event(const Config& job) {
  return {"start",
          {{"cohaul", COHAUL_VERSION},
           {"libtorch", TORCH_VERSION},
           {"instruction_set", at::get_cpu_capability()},
           {"job", observe::Json{job.job_json()}}}};
}

observe::Event process_event(const job::Member& m) {
  return {"process",
          {{"role", std::string(transport::name(m.role))},
           {"rank", m.rank},
           {"pid", m.pid},
           {"host", m.host},
           {"cpus", m.cpus},
           {"instruction_set", m.instruction_set.empty() ? observe::Value(nullptr) : observe::Value(m.instruction_set)},
           {"log", m.log.empty() ? observe::Value(nullptr) : observe::Value(m.log)}}};
}

observe::Event result_event(train::Trainer& trainer, const train::Evaluation& test, const std::string& hash,
                            double seconds) {
  observe::Event out{"result", {{"steps", trainer.steps_done()}, {"loss", test.loss}}};
  for (const auto& [name, value] : test.metrics) out.add(name, value);
  out.add("step_ms_median", trainer.times().median_ms());
  out.add("samples_per_s", trainer.times().samples_per_s());
  out.add("seconds", seconds);
  out.add("parameters_sha256", hash);
  return out;
}

void print(const observe::Event& result, const train::Evaluation& test) {
  const auto figure = [&](const char* name) { return result.number(name).value_or(0); };
  std::cout << observe::with_commas(static_cast<std::int64_t>(figure("steps"))) << " steps  loss "
            << observe::fixed(test.loss, 4);
  for (const auto& [name, value] : test.metrics)
    std::cout << "  " << name << " " << observe::fixed(value * 100, 2) << " %";
  std::cout << "  " << observe::rate(figure("samples_per_s")) << " samples/s  step "
            << observe::fixed(figure("step_ms_median"), 3) << " ms  parameters "
            << result.text("parameters_sha256").substr(0, 16) << "…" << std::endl;
}

template <class S>
void add(observe::Sinks& sinks, Result<S> sink) {
  sinks.add(std::make_unique<S>(or_throw(std::move(sink))));
}

/// Returns this process's entry in the job's list of members.
const job::Member& myself(const job::Job& joined) {
  return *std::ranges::find_if(joined.members(), [&](const job::Member& m) {
    return m.role == transport::Role::worker && m.rank == joined.rank();
  });
}

/// Adds the tables of figures. Their columns include the model's metrics, and its parameters if gradients are watched.
void add_tables(observe::Sinks& sinks, const Arguments& arguments, const job::Job& joined, const Config& job,
                const WorkerModel& model) {
  std::vector<std::string> metrics;
  for (const auto& [name, metric] : model.metrics) metrics.push_back(name);
  std::vector<std::string> watched;
  if (job.get<std::int64_t>("train.watch_gradients") > 0)
    for (const auto& [name, parameter] : model.model.parameters) watched.push_back(name);
  const auto make_table = arguments.goes_on ? observe::Csv::append : observe::Csv::create;
  if (!arguments.csv.empty()) add(sinks, make_table(arguments.csv, metrics, watched));
  if (arguments.tensorboard.empty()) return;
  const job::Member& me = myself(joined);
  add(sinks, observe::TensorBoard::create(arguments.tensorboard, me.host, me.pid));
}

void train_job(job::Job& joined, const Config& job, const ModelTable& own, const Arguments& arguments) {
  Time began = steady_clock().now();
  bool first = joined.rank() == 0;
  observe::Sinks sinks;  // worker 0's
  if (first) add(sinks, observe::Record::append(arguments.record));
  at::set_num_threads(static_cast<int>(job.get<std::int64_t>("job.threads")));
  sinks.write(start_event(job));
  for (const job::Member& m : joined.members())
    if (m.role != transport::Role::launcher) sinks.write(process_event(m));

  strategy::Strategy strategy = strategy::strategy_of(job);
  std::unique_ptr<collective::Workers> workers;
  std::unique_ptr<parallel::Factory> factory = parallel::whole_layers();
  if (std::holds_alternative<strategy::Tensor>(strategy)) {
    workers = or_throw(collective::Workers::connect(joined, "layers", 0));
    factory = parallel::tensor_parallel_layers(workers->group());
  }
  data::Sets data =
      or_throw(data::load(job.get<std::string>("data.name"), job.get_or("data.path", std::string()), &joined));
  WorkerModel model = make_model(job, own, *factory, shape_of(data.train.shape(), data.classes));
  load_initial(job, model);

  if (first) add_tables(sinks, arguments, joined, job, model);
  sinks.add(std::make_unique<observe::Progress>(2, arguments.quiet || !first));
  or_throw(sinks.status());
  train::TrainerOptions options = train::trainer_options_of(job);
  options.sink = &sinks;
  options.layer_group = workers ? &workers->group() : nullptr;
  const bool uses_ema = options.ema > 0 && job.get<bool>("train.use_ema");
  train::FitOptions fit = or_throw(train::fit_options_of(job, data.train.size()));
  if (fit.evaluation.every > 0) fit.evaluation.set = &data.test, fit.evaluation.metrics = model.metrics;
  train::Trainer trainer(joined, model.model, strategy, or_throw(train::optimizer_of(job, fit.steps)), options);
  if (const auto folder = job.resumes_from()) trainer.resume(*folder);
  trainer.fit(data.train, model.loss, fit);
  or_throw(sinks.status());

  train::Evaluation test;
  train::NamedTensors whole;
  const auto take_result = [&] {
    test = trainer.evaluate(data.test, model.loss, model.metrics);
    whole = trainer.parameters();
  };
  if (uses_ema && !fit.evaluation.keep_best) trainer.with_ema(take_result);
  else take_result();  // then the parameters are the best averages already
  const std::string hash = first ? train::sha256(whole) : std::string();
  const auto asynchrony = first ? or_throw(trainer.engine().asynchrony()) : std::nullopt;
  trainer.close();
  if (!first) return;
  or_throw(joined.commit());  // so that a run has either its results or an error
  if (auto path = job.find<std::string>("train.save"))
    or_throw(train::save(arguments.save.empty() ? *path : arguments.save, whole, model.model.buffers));
  observe::Event result = result_event(trainer, test, hash, static_cast<double>(steady_clock().now() - began) / 1e9);
  if (asynchrony) train::add_asynchrony(result, *asynchrony);
  sinks.write(result);
  or_throw(sinks.status());
  if (arguments.record != "-" && arguments.csv != "-") print(result, test);
}

/// Compares the resolved jobs of all workers, since each has resolved its own if an engine started it. Paths, which may differ between hosts, are not
/// compared. Blocks until all workers have come.
Status agree_on_job(job::Job& joined, const Config& job) {
  std::string facts;
  for (const auto& [key, entry] : job.entries())
    if (key != "data.path" && key != "job.logs") facts += key + "=" + config::to_text(entry.value) + "\n";
  return joined.meet({.group = "job", .purpose = "the start of training", .facts = facts},
                     steady_clock().now() + seconds(joined.options().join_timeout_s));
}

/// Records the failure that ended the run. Without a launcher worker 0 writes it.
void record_failure(const job::JoinOptions& options, const std::string& path, int exit, const std::string& message) {
  if (options.launched || options.role != transport::Role::worker || options.rank != 0) return;
  Result<observe::Record> record = observe::Record::append(path);
  if (!record.ok()) return;
  record->write(
      event_of({.exit = exit, .role = "worker", .rank = 0, .operation = last_operation(), .message = message}));
}

}  // namespace

int worker_main(int argc, char** argv, const ModelTable& own) {
  const FailingWrites failing;
  Arguments arguments;
  CLI::App app("A worker process of a training job; started by `cohaul train`.");
  app.set_version_flag("--version", version);
  app.add_flag("--check", arguments.check, "only look whether the job could run");
  app.add_option("--job", arguments.job, "the resolved job")->required();
  app.add_option("--record", arguments.record, "where the record goes on");
  app.add_option("--csv", arguments.csv, "where the table goes");
  app.add_option("--tensorboard", arguments.tensorboard, "where the event file goes");
  app.add_option("--save", arguments.save, "where train.save is written, to be brought to its place");
  app.add_flag("--goes-on", arguments.goes_on, "a try before this one has written a part of the table");
  app.add_flag("--quiet", arguments.quiet, "no progress");
  CLI11_PARSE(app, argc, argv);

  job::JoinOptions options;
  std::unique_ptr<job::Job> joined;
  try {
    Config job = read_job(arguments.job);
    if (arguments.check) {
      check(job, own);
      return 0;
    }
    options = or_throw(job::from_environment());
    joined = train::join(options);
    if (!job.has("job.threads")) job.set("job.threads", std::int64_t{joined->threads()});
    if (!joined->options().launched) or_throw(agree_on_job(*joined, job));
    train_job(*joined, job, own, arguments);
    or_throw(joined->close());
    return 0;
  } catch (...) {
    return train::report_exception(joined.get(), [&](int exit, const std::string& message) {
      record_failure(options, arguments.record, exit, message);
    });
  }
}

}  // namespace cohaul::cli
