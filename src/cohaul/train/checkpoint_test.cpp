// Tests of checkpoints: a run that continues from one ends with the bits of a run that was not interrupted, on any number of workers.

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "cohaul/base/random.h"
#include "cohaul/checkpoint/folder.h"
#include "cohaul/job/test_workers.h"
#include "cohaul/observe/event.h"
#include "cohaul/train/run.h"
#include "cohaul/train/test_data.h"
#include "cohaul/train/trainer.h"
#include "cohaul/train/weights.h"

namespace cohaul::train {
namespace {

namespace fs = std::filesystem;
constexpr std::int64_t kFirstLoop = 5, kSecondLoop = 9;

/// Large and small parameters, one of them with other strides, and a buffer that counts steps.
struct Net {
  Net() {
    const auto draw = [](at::IntArrayRef shape) {
      return (at::arange(c10::multiply_integers(shape), at::kFloat).view(shape) * 0.37).sin() * 0.1;
    };
    wide = draw({300, 70}).set_requires_grad(true);
    turned = draw({9, 5}).t().set_requires_grad(true);
    bias = draw({70}).set_requires_grad(true);
    seen = at::zeros({}, at::kLong);
    model.parameters = {{"wide", wide}, {"turned", turned}, {"bias", bias}};
    model.buffers = {{"seen", seen}};
    model.train = [](bool) {};
  }
  at::Tensor loss(const data::Batch& batch) {
    seen.add_(1);
    const at::Tensor x = batch.input.flatten(1).mean(1, true);  // [n, 1]
    return ((x * wide.sum(0) + bias).tanh().mean() - 0.3).pow(2) + turned.pow(2).mean() * x.mean();
  }
  at::Tensor wide, turned, bias, seen;
  Model model;
};

Optimizer adam() {
  return Adam{.lr = 0.01,
              .clip_norm = 0.5,
              .schedule = {.kind = Schedule::Kind::cosine, .warmup_steps = 3, .steps = 20},
              .groups = {{.match = {"bias"}, .lr = 0.1, .amsgrad = true}}};
}

Optimizer lamb() {
  return Lamb{.lr = 0.1, .clip_norm = 0.5, .groups = {{.match = {"bias"}, .lr = 0.01, .trust_ratio = false}}};
}

/// A number of workers, and a strategy.
struct Way {
  int workers = 1;
  strategy::Strategy strategy = strategy::Single{};
  std::string name() const { return std::string(strategy::name(strategy)) + " " + std::to_string(workers); }
};

const std::vector<Way> kWays = {{1, strategy::Single{}},
                                {2, strategy::AllReduce{}},
                                {3, strategy::ParameterServer{.servers = 2}},
                                {3, strategy::AllReduce{}},
                                {2, strategy::ParameterServer{.servers = 3}}};

struct Silent final : observe::Sink {
  void write(const observe::Event&) override {}
};

/// The result of two loops, of which the second is left after `steps` steps if it has more: the hash of the parameters, the buffer, and the updates
/// done.
struct End {
  std::string hash;
  std::int64_t seen = 0, updates = 0, resumed = 0;
};
End train(const Way& way, const std::string& folder, std::int64_t steps, bool resume, bool left = false,
          const Optimizer& optimizer = adam()) {
  End end;
  job::with_workers(way.workers, [&](job::Job& job) {
    Net net;
    const Line data(40);
    Silent silent;
    Trainer t(job, net.model, way.strategy, optimizer, {.slices = 4, .seed = 7, .sink = &silent});
    const std::int64_t resumed = resume ? t.resume(folder) : 0;
    FitOptions fit{.batch = 8, .steps = kFirstLoop};
    if (!folder.empty()) fit.checkpoint = {.folder = folder, .every = 2};
    t.fit(
        data, [&](const data::Batch& b) { return net.loss(b); }, fit);
    fit.steps = left ? kSecondLoop : steps;
    std::int64_t done = 0;
    for (const data::Batch& b : t.batches(data, fit)) {
      if (left && done == steps) break;
      if (t.step(net.loss(b)).complete) ++done;
    }
    const std::string hash = sha256(t.parameters());
    if (job.rank() == 0) end = {hash, net.seen.item<std::int64_t>(), t.steps_done(), resumed};
    EXPECT_TRUE(job.close().ok());
  });
  return end;
}

class Checkpoints : public testing::Test {
 protected:
  Checkpoints() {
    folder_ = fs::temp_directory_path() / ("cohaul-checkpoints-" + std::to_string(::getpid()));
    fs::remove_all(folder_);
  }
  ~Checkpoints() override { fs::remove_all(folder_); }
  std::string folder() const { return folder_.string(); }
  fs::path folder_;
};

TEST_F(Checkpoints, ARunThatGoesOnHasTheBitsOfTheOneThatWasNotBroken) {
  const End whole = train({1, strategy::Single{}}, "", kSecondLoop, false);
  EXPECT_EQ(whole.updates, kFirstLoop + kSecondLoop);
  for (std::size_t first = 0; first < kWays.size(); ++first) {
    const Way& one = kWays[first];
    for (const Way& other : {kWays[(first + 1) % kWays.size()], kWays[(first + 2) % kWays.size()], one}) {
      fs::remove_all(folder_);
      (void)train(one, folder(), kSecondLoop - 3, false,
                  true);  // its last checkpoint is after the second loop's 6th step
      const End rest = train(other, folder(), kSecondLoop, true);
      EXPECT_EQ(rest.resumed, kFirstLoop + 6);
      EXPECT_EQ(rest.hash, whole.hash) << one.name() << ", then " << other.name();
      EXPECT_EQ(rest.updates, whole.updates);
    }
  }
}

TEST_F(Checkpoints, ALayerwiseRuleGoesOnAtOtherOwners) {
  const End whole = train({1, strategy::Single{}}, "", kSecondLoop, false, false, lamb());
  for (std::size_t first = 0; first < kWays.size(); ++first) {
    const Way &one = kWays[first], &other = kWays[(first + 1) % kWays.size()];
    fs::remove_all(folder_);
    (void)train(one, folder(), kSecondLoop - 3, false, true, lamb());
    EXPECT_EQ(train(other, folder(), kSecondLoop, true, false, lamb()).hash, whole.hash)
        << one.name() << ", then " << other.name();
  }
}

TEST_F(Checkpoints, ALoopThatHadEndedYieldsNoBatchAndMayBecomeLonger) {
  const Way two = kWays[1];
  const End whole = train(two, folder(), 4, false);
  const End again = train(two, folder(), 4, true);
  EXPECT_EQ(again.resumed, kFirstLoop + 4);
  EXPECT_EQ(again.hash, whole.hash);
  EXPECT_EQ(again.seen, whole.seen) << "no loss was computed";
  const End longer = train(two, folder(), kSecondLoop, true);
  EXPECT_EQ(longer.hash, train(two, "", kSecondLoop, false).hash);
}

TEST_F(Checkpoints, OfAnotherRunAreRefusedByName) {
  (void)train(kWays[0], folder(), 4, false);
  const auto why = [&](const Optimizer& optimizer, const TrainerOptions& options, auto change) {
    std::string said;
    job::with_workers(1, [&](job::Job& job) {
      Net net;
      change(net);
      Trainer t(job, net.model, strategy::Single{}, optimizer, options);
      try {
        (void)t.resume(folder());
      } catch (const Error& e) {
        said = e.what();
      }
      EXPECT_TRUE(job.close().ok());
    });
    return said;
  };
  const auto same = [](Net&) {};
  Silent silent;
  const TrainerOptions options{.slices = 4, .seed = 7, .sink = &silent};
  EXPECT_EQ(why(adam(), options, same), "");
  EXPECT_NE(why(Sgd{}, options, same).find("its optimizer is adam, this run's is sgd"), std::string::npos);
  EXPECT_NE(why(adam(), {.slices = 2, .seed = 7, .sink = &silent}, same).find("set slices to 4"), std::string::npos);
  EXPECT_NE(why(adam(), {.slices = 4, .seed = 8, .sink = &silent}, same).find("its seed is 7"), std::string::npos);
  EXPECT_NE(why(Adam{}, options, same).find("arrays of optimizer state"), std::string::npos);
  const std::string other = why(adam(), options, [](Net& net) { net.model.parameters[1].first = "twisted"; });
  EXPECT_NE(other.find("its parameter 1 is turned, this model's is twisted"), std::string::npos) << other;
}

TEST_F(Checkpoints, TheNewestGoodOneIsTakenAndTheOldOnesGo) {
  (void)train(kWays[1], folder(), 8, false);
  std::vector<std::int64_t> all = checkpoint::list(folder());
  EXPECT_EQ(all, (std::vector<std::int64_t>{9, 11, 13}));
  const std::string newest = folder() + "/" + checkpoint::folder_name(13) + "/owner-1.safetensors";
  fs::resize_file(newest, fs::file_size(newest) - 1);
  const End rest = train(kWays[0], folder(), kSecondLoop, true);
  EXPECT_EQ(rest.resumed, 11);
  EXPECT_EQ(rest.hash, train(kWays[0], "", kSecondLoop, false).hash);
}

TEST_F(Checkpoints, OneThatIsWrittenBeforeTheLoopIsReachedAgainKnowsTheLoop) {
  const End whole = train(kWays[1], "", kSecondLoop, false);
  (void)train(kWays[1], folder(), kSecondLoop - 3, false, true);
  job::with_workers(2, [&](job::Job& job) {
    Net net;
    Silent silent;
    Trainer t(job, net.model, strategy::AllReduce{}, adam(), {.slices = 4, .seed = 7, .sink = &silent});
    EXPECT_EQ(t.resume(folder()), kFirstLoop + 6);
    t.save_checkpoint(folder());
    EXPECT_TRUE(job.close().ok());
  });
  EXPECT_EQ(train(kWays[0], folder(), kSecondLoop, true).hash, whole.hash);
}

TEST_F(Checkpoints, WhatWasLoadedBeforeGivesWayToTheCheckpoint) {
  const End whole = train(kWays[0], folder(), 4, false);
  job::with_workers(1, [&](job::Job& job) {
    Net net;
    Silent silent;
    Trainer t(job, net.model, strategy::Single{}, adam(), {.slices = 4, .seed = 7, .sink = &silent});
    net.bias.set_data(at::full({70}, 3, at::kFloat));  // as torch::load does
    EXPECT_EQ(t.resume(folder()), kFirstLoop + 4);
    EXPECT_EQ(sha256(t.parameters()), whole.hash);
    const Line data(40);
    for (const data::Batch& b : t.batches(data, {.batch = 8, .steps = kFirstLoop})) t.step(net.loss(b));
    EXPECT_EQ(sha256(t.parameters()), whole.hash) << "the loop had ended";
    EXPECT_TRUE(job.close().ok());
  });
}

TEST_F(Checkpoints, AreNotWrittenAmongThoseOfAnotherRunOrTrainer) {
  (void)train(kWays[0], folder(), 4, false);
  job::with_workers(1, [&](job::Job& job) {
    Net net, second;
    Silent silent;
    const TrainerOptions options{.slices = 4, .seed = 7, .sink = &silent};
    Trainer anew(job, net.model, strategy::Single{}, adam(), options);
    Trainer other(job, second.model, strategy::Single{}, adam(), options);
    std::string why;
    EXPECT_EQ(code_of([&] { anew.save_checkpoint(folder()); }, &why), Code::invalid);
    EXPECT_NE(why.find("is of another run, which had come further"), std::string::npos) << why;
    EXPECT_EQ(code_of([&] { other.save_checkpoint(folder()); }, &why), Code::invalid);
    EXPECT_NE(why.find("is of the job's trainer 0, this is trainer 1"), std::string::npos) << why;
    EXPECT_EQ(code_of([&] { (void)other.resume(folder()); }, &why), Code::invalid);
    EXPECT_EQ(anew.resume(folder()), kFirstLoop + 4);
    anew.save_checkpoint(folder());
    EXPECT_TRUE(job.close().ok());
  });
}

/// Simulates hosts that do not share the folder: each worker has another one.
TEST_F(Checkpoints, WorkersThatSeeAnotherFolderAreNamed) {
  for (const bool exists : {false, true}) {
    const std::string second = folder() + "-of-worker-1";
    if (exists) std::filesystem::create_directories(second);
    if (exists) std::ofstream(second + "/.lock") << "1 2";
    job::with_workers(2, [&](job::Job& job) {
      Net net;
      const Line data(40);
      Silent silent;
      const std::string mine = job.rank() == 0 ? folder() : second;
      Trainer t(job, net.model, strategy::AllReduce{}, adam(), {.slices = 4, .sink = &silent});
      FitOptions fit{.batch = 8, .steps = 4};
      fit.checkpoint = {.folder = mine, .every = 1};
      std::string why;
      EXPECT_EQ(code_of(
                    [&] {
                      t.fit(
                          data, [&](const data::Batch& b) { return net.loss(b); }, fit);
                    },
                    &why),
                Code::invalid);
      EXPECT_NE(why.find("worker 1: " + second + ": this process sees another folder there than worker 0"),
                std::string::npos)
          << why;
      EXPECT_EQ(code_of([&] { t.save_checkpoint(mine); }, &why), Code::invalid);
      EXPECT_NE(why.find("this process sees another folder there"), std::string::npos) << why;
      EXPECT_TRUE(job.close().ok());
    });
    std::filesystem::remove_all(second);
  }
}

TEST_F(Checkpoints, AFolderThatCannotBeWrittenIsAnErrorOfTheCallAndTrainingGoesOn) {
  std::ofstream(folder_) << "a file";
  job::with_workers(2, [&](job::Job& job) {
    Net net;
    const Line data(40);
    Silent silent;
    Trainer t(job, net.model, strategy::AllReduce{}, adam(), {.slices = 4, .sink = &silent});
    EXPECT_THROW(t.save_checkpoint(folder()), Error);
    FitOptions fit{.batch = 8, .steps = 4};
    fit.checkpoint = {.folder = folder(), .every = 1};
    t.fit(
        data, [&](const data::Batch& b) { return net.loss(b); }, fit);
    EXPECT_EQ(t.steps_done(), 4);
    EXPECT_TRUE(job.close().ok());
  });
}

}  // namespace
}  // namespace cohaul::train
