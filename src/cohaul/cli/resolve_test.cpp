#include "cohaul/cli/resolve.h"

#include <filesystem>

#include <gtest/gtest.h>

namespace cohaul::cli {
namespace {

using config::Config;

constexpr const char* kJob = R"([model]
name = "softmax"
[data]
name = "fashion-mnist"
[train]
batch = 100
steps = 1000
[optimizer]
lr = 0.01
)";

Result<Config> job(std::vector<std::string> sets = {}, std::optional<std::int64_t> workers = {}, bool own = false) {
  return resolve_text(
      kJob, "a.toml",
      {.job_file = "a.toml", .sets = std::move(sets), .workers = workers, .own_program = own, .cores = 8});
}

std::string refusal(const Result<Config>& r) {
  if (r.ok()) return "accepted";
  EXPECT_EQ(r.status().code(), Code::invalid);
  return r.status().message();
}
std::string refusal_of_text(const std::string& toml) {
  return refusal(resolve_text(toml, "a.toml", {.job_file = "a.toml"}));
}

TEST(Resolve, DefaultsDependOnWorkers) {
  auto one = job();
  ASSERT_TRUE(one.ok()) << one.status().message();
  EXPECT_EQ(one->get<std::string>("strategy.name"), "single");
  EXPECT_EQ(one->get<std::int64_t>("train.slices"), 1);
  EXPECT_EQ(one->get<std::int64_t>("job.threads"), 8);
  EXPECT_EQ(one->get<double>("optimizer.lr"), 0.01);
  EXPECT_FALSE(one->has("strategy.servers"));
  EXPECT_FALSE(one->has("model.width"));
  EXPECT_FALSE(one->has("train.epochs"));

  auto four = job({}, 4);
  ASSERT_TRUE(four.ok());
  EXPECT_EQ(four->get<std::string>("strategy.name"), "all_reduce");
  EXPECT_EQ(four->get<std::int64_t>("train.slices"), 4);
  EXPECT_EQ(four->get<std::int64_t>("job.threads"), 2);
  EXPECT_TRUE(four->set_by_user("job.workers"));
  EXPECT_FALSE(four->set_by_user("train.slices"));

  auto async = job({"strategy.name=parameter_server", "strategy.consistency=async"}, 4);
  ASSERT_TRUE(async.ok());
  EXPECT_EQ(async->get<std::int64_t>("strategy.servers"), 1);
  EXPECT_EQ(async->get<std::int64_t>("train.slices"), 1);
  EXPECT_EQ(job({"model.name=mlp"})->get<std::int64_t>("model.width"), 1024);
  EXPECT_EQ(job({"model.name=mlp"})->get<std::int64_t>("model.depth"), 2);
  EXPECT_EQ(job({"model.name=deep"})->get<std::int64_t>("model.width"), 64);
  EXPECT_EQ(job({"model.name=deep"})->get<std::int64_t>("model.depth"), 30);
  EXPECT_FALSE(job({"model.name=deep", "model.norm=false"})->get<bool>("model.norm"));
  EXPECT_TRUE(job({"model.name=deep"})->get<bool>("model.residual"));
  EXPECT_EQ(job({"model.name=resnet18"})->get<std::int64_t>("model.width"), 64);
  EXPECT_EQ(job({"model.name=resnet18", "model.width=16"})->get<std::int64_t>("model.width"), 16);
  EXPECT_EQ(job({"optimizer.name=adamw"})->get<double>("optimizer.weight_decay"), 0.01);
}

TEST(Resolve, PlacesAndPaths) {
  auto r = resolve_text(std::string(kJob) + "[job]\nlogs = \"logs\"\n", "some/where/a.toml",
                        {.job_file = "some/where/a.toml", .sets = {"train.save=b.safetensors", "data.path=/x"}});
  ASSERT_TRUE(r.ok()) << r.status().message();
  const std::string here = std::filesystem::current_path().string();
  EXPECT_EQ(r->get<std::string>("job.logs"), here + "/some/where/logs");
  EXPECT_EQ(r->get<std::string>("train.save"), here + "/b.safetensors");
  EXPECT_EQ(r->get<std::string>("data.path"), "/x");
  EXPECT_EQ(r->where("train.batch"), "some/where/a.toml:6");
  EXPECT_EQ(r->where("train.save"), "--set");
  EXPECT_EQ(r->where("train.seed"), "default");
  EXPECT_EQ(r->mistake("train.batch", "no").message(), "some/where/a.toml:6: train.batch = 100: no");
}

TEST(Resolve, EncodedAndBack) {
  auto r = job({"train.save=b", "strategy.name=parameter_server"}, 2);
  ASSERT_TRUE(r.ok());
  auto back = Config::decode(r->encode());
  ASSERT_TRUE(back.ok());
  ASSERT_EQ(back->entries().size(), r->entries().size());
  for (const auto& [key, entry] : r->entries()) {
    EXPECT_EQ(back->entries().at(key).value, entry.value) << key;
    EXPECT_EQ(back->entries().at(key).where, entry.where) << key;
  }
  EXPECT_NE(r->job_json().find(R"("train":{"batch":100,)"), std::string::npos) << r->job_json();
  for (const char* bad : {"", "{}", "[1]", "[[\"a.b\",null,\"\",0]]", "[[\"a\",1,\"\",0]]", "[[\"a.b\",1,\"\"]]"})
    EXPECT_EQ(Config::decode(bad).status().code(), Code::corrupt) << bad;
}

TEST(Resolve, UnknownKeys) {
  EXPECT_EQ(refusal_of_text("[train]\nbtach = 3\n"),
            "a.toml:2: train.btach: unknown key; did you mean train.batch? [train] has: batch, steps, epochs, slices, "
            "buffers, seed, log_every, watch_gradients, eval_every, patience, keep_best, ema, use_ema, init, save, "
            "checkpoint, "
            "checkpoint_every, "
            "keep, resume");
  EXPECT_EQ(refusal(job({"optimizer.learning_rate=1"})),
            "--set optimizer.learning_rate=1: unknown key; did you mean optimizer.lr? [optimizer] has: name, lr, "
            "momentum, dampening, nesterov, "
            "weight_decay, clip_norm, clip_value, non_finite, beta1, beta2, eps, amsgrad, lr_decay, "
            "initial_accumulator, alpha, centered, trust_ratio, trust_coefficient, group.N.*");
  EXPECT_NE(refusal_of_text("[train]\nlr = 3\n").find("a.toml:2: train.lr: unknown key; did you mean optimizer.lr?"),
            std::string::npos);
  EXPECT_NE(refusal_of_text("[train]\nxyzzyq = 3\n").find("a.toml:2: train.xyzzyq: unknown key [train] has: batch"),
            std::string::npos);
  EXPECT_EQ(refusal_of_text("\n[optimiser]\nlr = 3\n"),
            "a.toml:2: unknown section [optimiser]; did you mean [optimizer]? Sections are: model, data, train, "
            "optimizer, schedule, strategy, job");
  EXPECT_EQ(refusal_of_text("batch_size = 3\n"),
            "a.toml:1: batch_size stands in no section; keys are written section.name; did you mean train.batch?");
  EXPECT_EQ(refusal(job({"lr=1"})), "--set lr=1: keys are written section.name; did you mean optimizer.lr?");
  EXPECT_EQ(refusal(job({"lr"})), "--set lr: must be KEY=VALUE, e.g. --set train.batch=100");
  EXPECT_NE(refusal(job({"foo.bar=1"})).find("unknown section [foo]"), std::string::npos);
}

TEST(Resolve, TypesAndRanges) {
  EXPECT_EQ(refusal_of_text("[train]\nbatch = 1.5\n"), "a.toml:2: train.batch = 1.5: must be an integer");
  EXPECT_EQ(refusal_of_text("[train]\nbatch = \"x\"\n"), "a.toml:2: train.batch = \"x\": must be an integer");
  EXPECT_EQ(refusal_of_text("[train]\nbatch = [1]\n"),
            "a.toml:2: train.batch: must be an integer, not a list, table or date");
  EXPECT_EQ(refusal_of_text("[train]\nbatch = 0\n"),
            "a.toml:2: train.batch = 0: must be at least 1 and at most 1073741824");
  EXPECT_EQ(refusal_of_text("[data]\nshuffle = 1\n"), "a.toml:2: data.shuffle = 1: must be true or false");
  EXPECT_EQ(refusal_of_text("[optimizer]\nlr = inf\n"), "a.toml:2: optimizer.lr = inf: must be finite");
  EXPECT_EQ(refusal_of_text("[optimizer]\nlr = -1\n"), "a.toml:2: optimizer.lr = -1: must be at least 0");
  EXPECT_EQ(
      refusal_of_text("[model]\nname = \"sofmax\"\n"),
      "a.toml:2: model.name = \"sofmax\": must be softmax or mlp or cnn or resnet18 or deep; did you mean softmax?");
  EXPECT_EQ(refusal(job({"train.batch=ten"})), "--set train.batch=ten: must be an integer");
  EXPECT_EQ(refusal(job({"train.batch=1e3"})), "--set train.batch=1e3: must be an integer");
  EXPECT_EQ(refusal(job({"data.shuffle=yes"})), "--set data.shuffle=yes: must be true or false");
  EXPECT_EQ(refusal(job({"strategy.name=allreduce"})),
            "--set: strategy.name = \"allreduce\": must be single or all_reduce or parameter_server or tensor; did you "
            "mean all_reduce?");
  EXPECT_EQ(refusal(job({"strategy.name=parameter_server", "strategy.servers=0"})),
            "--set: strategy.servers = 0: must be at least 1 and at most 64");
  EXPECT_EQ(refusal(job({}, 0)), "--workers: job.workers = 0: must be at least 1 and at most 1024");
  EXPECT_EQ(refusal(job({"job.peer_timeout_s=0"})),
            "--set: job.peer_timeout_s = 0: must be greater than 0 and at most 1000000");
  EXPECT_EQ(refusal(job({"train.save="})), "--set: train.save = \"\": must not be empty");
}

TEST(Resolve, BrokenFiles) {
  EXPECT_EQ(refusal_of_text("[train\n").substr(0, 20), "a.toml:1: not TOML: ");
  EXPECT_EQ(refusal_of_text("[train]\n[ = 1\n").substr(0, 20), "a.toml:2: not TOML: ");
  EXPECT_EQ(refusal_of_text("\xEF\xBB\xBD").substr(0, 20), "a.toml:1: not TOML: ");
  EXPECT_EQ(refusal_of_text(""),
            "a.toml: model.name: missing: the model to train; one of softmax, mlp, cnn, resnet18, deep");
  EXPECT_EQ(refusal(resolve({.job_file = "no/such.toml"})),
            "no job file no/such.toml; give the path of a TOML file, such as jobs/softmax.toml");
  EXPECT_EQ(refusal(resolve({.job_file = "/"})), "job file / is not a file; give the path of a TOML file");
}

TEST(Resolve, KeysThatContradict) {
  EXPECT_EQ(refusal(job({"train.epochs=2"})),
            "--set: train.epochs = 2: train.steps is set too (a.toml:7); keep one of the two");
  EXPECT_EQ(refusal_of_text("[model]\nname='cnn'\n[data]\nname='fashion-mnist'\n[train]\nbatch=1\n"),
            "a.toml: train.steps: missing, as is train.epochs; set one of the two: how long to train");
  EXPECT_EQ(refusal(job({"strategy.name=single"}, 2)),
            "--set: strategy.name = \"single\": one worker only, and job.workers is 2 (--workers); choose all_reduce, "
            "parameter_server or tensor, or one worker");
  EXPECT_EQ(refusal(job({"strategy.servers=2"}, 2)),
            "--set: strategy.servers = 2: is read only with strategy.name = parameter_server, and strategy.name is "
            "all_reduce; remove the key, or set "
            "strategy.name = parameter_server");
  EXPECT_EQ(refusal(job({"strategy.name=parameter_server", "strategy.staleness=3"})),
            "--set: strategy.staleness = 3: is read only with strategy.consistency = bounded, and strategy.consistency "
            "is sync; remove the key, or set "
            "strategy.consistency = bounded");
  EXPECT_NE(refusal(job({"strategy.staleness=3"})).find("strategy.consistency is not set"), std::string::npos);
  EXPECT_EQ(refusal(job({"strategy.name=parameter_server", "strategy.consistency=bounded"})),
            "a.toml: strategy.staleness: missing; bounded needs the number of steps that a worker may run ahead, e.g. "
            "strategy.staleness = 3");
  EXPECT_EQ(refusal(job({"strategy.name=parameter_server", "strategy.backup_workers=1"}, 2)),
            "--set: strategy.backup_workers = 1: backup workers are not available yet; remove the key");
  EXPECT_NE(refusal(job({"optimizer.name=adam", "optimizer.momentum=0.9"}))
                .find("is read only with optimizer.name = sgd or rmsprop or lars, and optimizer.name is adam"),
            std::string::npos);
  EXPECT_EQ(refusal(job({"optimizer.nesterov=true"})),
            "--set: optimizer.nesterov = true: needs momentum; set optimizer.momentum above 0");
  EXPECT_EQ(refusal(job({"optimizer.clip_norm=1", "optimizer.clip_value=2"})),
            "--set: optimizer.clip_value = 2: clips as optimizer.clip_norm does (--set); choose one of them");
  EXPECT_NE(refusal(job({"model.width=3"}))
                .find("is read only with model.name = mlp or resnet18 or deep, and model.name is softmax"),
            std::string::npos);
  EXPECT_EQ(refusal(job({"data.name=mnist"})),
            "a.toml: data.path: missing; mnist is read from a folder of IDX files: set data.path to it");
}

TEST(Resolve, DefaultsOfEachRule) {
  const auto of = [](const std::string& rule) {
    const std::string text =
        "[model]\nname = \"softmax\"\n[data]\nname = \"fashion-mnist\"\n[train]\nbatch = 1\nsteps = 1\n";
    return resolve_text(text + "[optimizer]\nname = \"" + rule + "\"\n", "a.toml", {.job_file = "a.toml"});
  };
  const auto real = [&](const char* rule, const char* key) { return of(rule)->get<double>(key); };
  EXPECT_EQ(real("sgd", "optimizer.lr"), 1e-3);
  EXPECT_EQ(real("adagrad", "optimizer.lr"), 1e-2);
  EXPECT_EQ(real("adagrad", "optimizer.eps"), 1e-10);
  EXPECT_EQ(real("rmsprop", "optimizer.eps"), 1e-8);
  EXPECT_EQ(real("lion", "optimizer.lr"), 1e-4);
  EXPECT_EQ(real("lion", "optimizer.beta2"), 0.99);
  EXPECT_EQ(real("adamw", "optimizer.weight_decay"), 0.01);
  EXPECT_EQ(real("sgd", "optimizer.momentum"), 0);
  EXPECT_EQ(real("lars", "optimizer.momentum"), 0.9);
  EXPECT_EQ(real("lars", "optimizer.lr"), 1);
  EXPECT_EQ(real("lars", "optimizer.weight_decay"), 5e-4);
  EXPECT_EQ(real("lars", "optimizer.trust_coefficient"), 0.001);
  EXPECT_EQ(real("lamb", "optimizer.lr"), 1e-3);
  EXPECT_EQ(real("lamb", "optimizer.eps"), 1e-6);
  EXPECT_EQ(real("lamb", "optimizer.beta2"), 0.999);
  EXPECT_EQ(real("lamb", "optimizer.weight_decay"), 0.01);
  EXPECT_FALSE(of("lamb")->has("optimizer.trust_coefficient"));
  EXPECT_FALSE(of("sgd")->has("optimizer.eps"));
}

TEST(Resolve, WatchedGradients) {
  EXPECT_EQ(job()->get<std::int64_t>("train.watch_gradients"), 0);
  EXPECT_TRUE(job({"train.watch_gradients=10", "strategy.name=parameter_server"}).ok());
  const std::vector<std::string> async{"train.watch_gradients=10", "strategy.name=parameter_server",
                                       "strategy.consistency=async"};
  EXPECT_EQ(refusal(job(async)),
            "--set: train.watch_gradients = 10: tells norms of the whole batch's gradients, which nobody has with "
            "strategy.consistency = async; remove the key, or use single, all_reduce or synchronous servers");
  EXPECT_NE(refusal(job({"train.watch_gradients=10", "strategy.name=tensor"})).find("strategy.name = tensor"),
            std::string::npos);
}

TEST(Resolve, Averages) {
  EXPECT_EQ(job()->get<double>("train.ema"), 0);
  EXPECT_TRUE(job({"train.ema=0.999"})->get<bool>("train.use_ema"));
  EXPECT_TRUE(job({"train.use_ema=false"}).ok());
  EXPECT_NE(refusal(job({"train.use_ema=true"})).find("is about averages, and train.ema is not set"),
            std::string::npos);
  EXPECT_NE(refusal(job({"train.ema=1"})), "accepted");
}

TEST(Resolve, Schedules) {
  EXPECT_NE(refusal(job({"schedule.name=plateau"})).find("train.eval_every: missing; schedule.name = plateau follows"),
            std::string::npos);
  const auto plateau = job({"schedule.name=plateau", "train.eval_every=10", "schedule.min=0.01"});
  ASSERT_TRUE(plateau.ok()) << plateau.status().message();
  EXPECT_EQ(plateau->get<double>("schedule.factor"), 0.1);
  EXPECT_EQ(plateau->get<std::int64_t>("schedule.patience"), 10);
  EXPECT_EQ(plateau->get<double>("schedule.threshold"), 1e-4);
  EXPECT_EQ(plateau->get<std::int64_t>("schedule.cooldown"), 0);
  EXPECT_NE(refusal(job({"schedule.patience=1"})).find("is read only with schedule.name = plateau"), std::string::npos);
  EXPECT_EQ(job()->get<std::string>("schedule.name"), "constant");
  EXPECT_EQ(job({"schedule.name=multistep", "schedule.milestones=30,60"})->get<std::string>("schedule.milestones"),
            "30,60");
  EXPECT_NE(refusal(job({"schedule.name=multistep"})).find("schedule.milestones: missing; multistep needs"),
            std::string::npos);
  EXPECT_NE(refusal(job({"schedule.name=step"})).find("schedule.every: missing; step needs"), std::string::npos);
  EXPECT_NE(refusal(job({"schedule.name=multistep", "schedule.milestones=60,30"})).find("in ascending order"),
            std::string::npos);
  EXPECT_EQ(refusal(job({"schedule.name=multistep", "schedule.milestones=30;60"})),
            "--set schedule.milestones=30;60: must be a list of integers");
  EXPECT_NE(
      refusal(job({"schedule.gamma=0.5"})).find("is read only with schedule.name = step or multistep or exponential"),
      std::string::npos);
  EXPECT_NE(refusal_of_text("\n[schedule]\nname = \"multistep\"\nmilestones = [3, \"x\"]\n")
                .find("schedule.milestones: must be a list of integers"),
            std::string::npos);
  EXPECT_NE(refusal_of_text("\n[schedule]\nname = \"multistep\"\nmilestones = []\n").find("must not be empty"),
            std::string::npos);
}

TEST(Resolve, Groups) {
  const std::string groups = std::string(kJob) +
                             "[[optimizer.group]]\nmatch = [\"*.bias\", \"*norm*\"]\nweight_decay = 0\n"
                             "[[optimizer.group]]\nmatch = [\"head.*\"]\nlr = 1\n";
  const Result<Config> two =
      resolve_text(groups, "a.toml", {.job_file = "a.toml", .sets = {"optimizer.group.1.lr=0.1"}});
  ASSERT_TRUE(two.ok()) << two.status().message();
  EXPECT_EQ(two->get<std::string>("optimizer.group.0.match"), "*.bias,*norm*");
  EXPECT_EQ(two->get<double>("optimizer.group.0.weight_decay"), 0);
  EXPECT_EQ(two->get<double>("optimizer.group.1.lr"), 0.1);
  EXPECT_EQ(two->where("optimizer.group.0.match"), "a.toml:11");
  const auto with = [](const std::string& lines) { return refusal_of_text(kJob + ("[[optimizer.group]]\n" + lines)); };
  EXPECT_EQ(with("lr = 1\n"),
            "a.toml: optimizer.group.0.match: missing: patterns of parameters' names, such as [\"*.bias\"], because "
            "optimizer.group.0.lr is set (a.toml:11)");
  EXPECT_EQ(with("match = [1]\n"), "a.toml:11: optimizer.group.0.match: must be a list of texts");
  EXPECT_NE(with("match = [\"a\"]\nbeta1 = 0.5\n").find("a.toml:12: optimizer.group.0.beta1 = 0.5: is read only with"),
            std::string::npos)
      << with("match = [\"a\"]\nbeta1 = 0.5\n");
  EXPECT_EQ(
      with("match = [\"a\"]\nlrr = 0.5\n"),
      "a.toml:12: optimizer.group.0.lrr: unknown key; did you mean optimizer.group.0.lr? [[optimizer.group]] has: "
      "match, lr, momentum, dampening, nesterov, weight_decay, beta1, beta2, eps, amsgrad, lr_decay, "
      "initial_accumulator, alpha, centered, trust_ratio, trust_coefficient");
  EXPECT_NE(refusal(job({"optimizer.group.255.match=a"})).find("unknown key"), std::string::npos);
  EXPECT_NE(refusal(job({"optimizer.group.01.match=a"})).find("unknown key"), std::string::npos);
  EXPECT_NE(refusal(job({"optimizer.group.1.match=a"})).find("optimizer.group.0.match: missing"), std::string::npos);
}

TEST(Resolve, Checkpoints) {
  const std::string set = "train.checkpoint=/tmp/c";
  EXPECT_EQ(job()->resumes_from(), std::nullopt);
  EXPECT_EQ(job({set})->resumes_from(), "/tmp/c");
  EXPECT_EQ(job({set, "train.resume=off"})->resumes_from(), std::nullopt);
  EXPECT_EQ(job({set, "train.resume=/tmp/other"})->resumes_from(), "/tmp/other");
  EXPECT_EQ(job({set})->get<std::int64_t>("train.keep"), 3);
  EXPECT_NE(refusal(job({"train.checkpoint_every=5"})).find("train.checkpoint is not set"), std::string::npos);
  EXPECT_NE(refusal(job({"train.resume=auto"})).find("there is no train.checkpoint to go on from"), std::string::npos);
  EXPECT_TRUE(job({set, "strategy.name=parameter_server", "strategy.consistency=async"}, 2).ok());
  EXPECT_TRUE(job({set, "strategy.name=tensor"}, 2).ok());
  EXPECT_EQ(job({set, "train.checkpoint_every=1.5h"})->get<std::string>("train.checkpoint_every"), "1.5h");
  EXPECT_EQ(job({set, "train.checkpoint_every=200"})->get<std::int64_t>("train.checkpoint_every"), 200);
  for (const char* wrong : {"10 minutes", "0s", "-1min", "h", "nanmin"})
    EXPECT_NE(refusal(job({set, std::string("train.checkpoint_every=") + wrong})).find("a time such as 10min"),
              std::string::npos)
        << wrong;
  const Request saved{.job_file = "d/a.toml", .sets = {}, .workers = 2, .slices = 6, .threads = 3};
  const Result<Config> on = resolve_text(std::string(kJob), "d/a.toml", saved);
  EXPECT_EQ(on->get<std::int64_t>("train.slices"), 6) << "of the checkpoint";
  EXPECT_EQ(on->get<std::int64_t>("job.threads"), 3);
  const std::string relative = std::string(kJob).insert(std::string(kJob).find("steps"), "resume = \"old\"\n");
  EXPECT_EQ(resolve_text(relative, "/d/a.toml", {.job_file = "/d/a.toml"})->resumes_from(), "/d/old");
}

TEST(Resolve, Slices) {
  EXPECT_EQ(refusal(job({"train.slices=101"})),
            "--set: train.slices = 101: more slices than train.batch (100); a slice needs a sample");
  EXPECT_EQ(refusal(job({"train.batch=2"}, 4)),
            "--set: train.batch = 2: smaller than the number of workers (4), each of which needs a sample");
  EXPECT_EQ(refusal(job({"train.slices=2"}, 3)),
            "--set: train.slices = 2: fewer than the workers (3), each of which needs one; give 3 or more");
  EXPECT_TRUE(job({"train.slices=4"}, 3).ok());
  EXPECT_TRUE(job({"train.slices=12"}, 4).ok());
  EXPECT_EQ(refusal(job({"strategy.name=tensor", "train.slices=2"}, 2)),
            "--set: train.slices = 2: tensor computes each batch whole on every worker; remove the key");
  EXPECT_TRUE(job({"train.slices=7"}).ok());
  EXPECT_TRUE(job({"train.slices=8"}, 4).ok());
  EXPECT_TRUE(job({"train.slices=3"}, 3).ok());
  EXPECT_TRUE(job({"train.slices=4", "strategy.name=parameter_server", "strategy.consistency=async"}, 3).ok());
  EXPECT_TRUE(job({"strategy.name=tensor"}, 2).ok());
}

TEST(Resolve, OwnModelsTakeTheirOwnKeys) {
  auto r = job({"model.name=mine", "model.width=25"}, {}, true);
  ASSERT_TRUE(r.ok()) << r.status().message();
  EXPECT_EQ(r->get<std::int64_t>("model.width"), 25);
  // Its models get whole numbers only; other values would be ignored.
  EXPECT_EQ(refusal(job({"model.width=2.5"}, {}, true)), "--set model.width=2.5: must be an integer");
  EXPECT_EQ(refusal(job({"model.kind=gelu"}, {}, true)), "--set model.kind=gelu: must be an integer");
  EXPECT_EQ(refusal(job({"model.kind=gelu"})).substr(0, 35), "--set model.kind=gelu: unknown key ");
  EXPECT_EQ(refusal(job({"train.kind=gelu"}, {}, true)).substr(0, 35), "--set train.kind=gelu: unknown key ");
}

}  // namespace
}  // namespace cohaul::cli
