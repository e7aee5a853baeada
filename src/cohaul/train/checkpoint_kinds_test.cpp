// Tests of checkpoints beyond plain synchronous training: asynchronous modes, split layers, optimizers of the program's own, several trainers.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>
#include <gtest/gtest.h>
#include <torch/optim/serialize.h>
#include <torch/optim/sgd.h>
#include <torch/serialize.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <optional>
#include <sstream>
#include <thread>

#include "cohaul/base/mutex.h"
#include "cohaul/base/temporary_folder.h"
#include "cohaul/checkpoint/folder.h"
#include "cohaul/checkpoint/lock.h"
#include "cohaul/collective/workers.h"
#include "cohaul/job/test_workers.h"
#include "cohaul/observe/event.h"
#include "cohaul/train/run.h"
#include "cohaul/train/test_data.h"
#include "cohaul/train/trainer.h"
#include "cohaul/train/weights.h"

namespace cohaul::train {
namespace {

struct Silent final : observe::Sink {
  void write(const observe::Event&) override {}
};
Silent silent;

/// Two parameters; `head` may be cut along dim 0 over the workers.
struct Net {
  explicit Net(float start = 0.2F, parallel::Part part = {0, 6, 6}) {
    body = at::full({3, 5}, start, at::kFloat).set_requires_grad(true);
    head = at::full({part.size(), 5}, start, at::kFloat).set_requires_grad(true);
    model.parameters = {{"body", body}, {"head", head}};
    model.train = [](bool) {};
    if (part.size() < part.whole) model.split = {{"head", 0, part}};
  }
  at::Tensor loss(const data::Batch& b) const {
    const at::Tensor x = b.input.flatten(1).mean(0);  // [3]
    return ((x.matmul(body) - 0.3).square().sum() + (head.square().sum() * x.sum() * 0.1));
  }
  at::Tensor body, head;
  Model model;
};

const Optimizer kAdam = Adam{.lr = 0.01, .schedule = {.kind = Schedule::Kind::cosine, .steps = 40}};

struct End {
  std::string hash;
  std::int64_t updates = 0, resumed = 0, steps = 0;  // steps: sum over all workers in this run
};

/// Trains one loop of 30 updates with a checkpoint every 7. until: all workers stop after so many steps of a worker.
End train(int workers, const strategy::Strategy& s, const std::string& folder, bool resume, std::int64_t until = 0) {
  End end;
  Mutex mutex;
  job::with_workers(workers, [&](job::Job& job) {
    Net net;
    const Line data(40);
    Trainer t(job, net.model, s, kAdam, {.slices = 1, .seed = 3, .sink = &silent});
    const std::int64_t resumed = resume ? t.resume(folder) : 0;
    FitOptions fit{.batch = 4, .steps = 30};
    if (!folder.empty()) fit.checkpoint = {.folder = folder, .every = 7};
    std::int64_t done = 0;
    for (const data::Batch& b : t.batches(data, fit)) {
      t.step(net.loss(b));
      if (++done == until) t.stop();
    }
    const std::string hash = sha256(t.parameters());
    {
      const MutexLock lock(mutex);
      end.steps += done;
      if (job.rank() == 0) end = {hash, t.steps_done(), resumed, end.steps};
    }
    const Status closed = job.close();
    EXPECT_TRUE(closed.ok()) << closed.message();
  });
  return end;
}

const strategy::Strategy kAsynchronous =
    strategy::ParameterServer{.servers = 2, .consistency = strategy::Asynchronous{}};
const strategy::Strategy kBounded =
    strategy::ParameterServer{.servers = 1, .consistency = strategy::Bounded{.staleness = 1}};

class CheckpointKinds : public testing::Test {
 protected:
  const TemporaryFolder temporary_ = *TemporaryFolder::make("checkpoint-kinds");
  std::string folder() const { return temporary_.path() + "/all"; }
};

// A single asynchronous worker computes the same in every run.
TEST_F(CheckpointKinds, AnAsynchronousWorkerGoesOnWithTheBitsOfTheRunThatWasNotBroken) {
  const End whole = train(1, kAsynchronous, "", false);
  EXPECT_EQ(whole.updates, 30);
  EXPECT_EQ(train(1, kAsynchronous, folder(), false).hash, whole.hash) << "rounds change nothing";
  for (const std::int64_t broken : {14, 21, 30}) {
    std::filesystem::remove_all(folder());
    (void)train(1, kAsynchronous, folder(), false);
    for (const std::int64_t u : checkpoint::list(folder()))
      if (u > broken) std::filesystem::remove_all(folder() + "/" + checkpoint::folder_name(u));
    if (checkpoint::list(folder()).empty()) continue;
    const std::int64_t at = checkpoint::list(folder()).back();
    const End rest = train(1, kBounded, folder(), true);
    EXPECT_EQ(rest.resumed, at);
    EXPECT_EQ(rest.steps, 30 - at);
    EXPECT_EQ(rest.hash, whole.hash);
    std::filesystem::remove_all(folder());
  }
}

TEST_F(CheckpointKinds, ManyAsynchronousWorkersSaveOneCut) {
  for (const strategy::Strategy& s : {kAsynchronous, kBounded}) {
    std::filesystem::remove_all(folder());
    const End first = train(3, s, folder(), false);
    EXPECT_EQ(first.updates, 30);
    EXPECT_EQ(first.steps, 30);
    EXPECT_EQ(checkpoint::list(folder()), (std::vector<std::int64_t>{21, 28, 30}));
    std::filesystem::remove_all(folder() + "/" + checkpoint::folder_name(30));
    const End rest = train(2, s, folder(), true);
    EXPECT_EQ(rest.resumed, 28);
    EXPECT_EQ(rest.updates, 30);
    EXPECT_EQ(rest.steps, 2);
    EXPECT_EQ(train(1, strategy::Single{}, folder(), true).updates, 30) << "a loop that had ended";
  }
}

TEST_F(CheckpointKinds, AStopOfAnAsynchronousLoopWritesOneAtItsEnd) {
  const End end = train(3, kAsynchronous, folder(), false, 2);
  ASSERT_FALSE(checkpoint::list(folder()).empty());
  EXPECT_EQ(checkpoint::list(folder()).back(), end.updates);
  EXPECT_EQ(end.steps, end.updates);
}

TEST_F(CheckpointKinds, AWorkerThatLeavesAnAsynchronousLoopEndsItsCheckpoints) {
  job::with_workers(2, [&](job::Job& job) {
    Net net;
    const Line data(40);
    Trainer t(job, net.model, kAsynchronous, kAdam, {.sink = &silent});
    FitOptions fit{.batch = 4, .steps = 30};
    fit.checkpoint = {.folder = folder(), .every = 7};
    for (const data::Batch& b : t.batches(data, fit)) {
      t.step(net.loss(b));
      if (job.rank() == 1) break;
    }
    (void)t.evaluate(data, [&](const data::Batch& b) { return net.loss(b); });
    EXPECT_TRUE(job.close().ok());
    EXPECT_EQ(job.rank() == 0 ? t.steps_done() : 30, 30);
  });
  EXPECT_TRUE(checkpoint::list(folder()).empty());
}

TEST_F(CheckpointKinds, SplitLayersGoOnWholeAndInOtherParts) {
  const auto run = [&](int workers, bool resume, std::int64_t steps) {
    std::string hash;
    job::with_workers(workers, [&](job::Job& job) {
      auto group = workers > 1 ? *collective::Workers::connect(job, "layers", 0) : nullptr;
      Net net(0.2F, parallel::part_of(6, job.rank(), workers));
      if (resume) net.head.detach().zero_();
      const Line data(40);
      TrainerOptions options{.seed = 3, .sink = &silent};
      if (group) options.layer_group = &group->group();
      const strategy::Strategy s = workers > 1 ? strategy::Strategy{strategy::Tensor{}} : strategy::Single{};
      Trainer t(job, net.model, s, kAdam, options);
      EXPECT_EQ(resume ? t.resume(folder()) : 5, 5);
      FitOptions fit{.batch = 4, .steps = steps};
      fit.checkpoint.folder = steps == 5 ? folder() : "";
      t.fit(
          data, [&](const data::Batch& b) { return net.loss(b); }, fit);
      const NamedTensors whole = t.parameters();
      if (job.rank() == 0) hash = sha256(whole);
      EXPECT_TRUE(job.close().ok());
    });
    return hash;
  };
  const std::string whole = run(1, false, 12);
  for (const int first : {2, 3, 1}) {
    std::filesystem::remove_all(folder());
    (void)run(first, false, 5);
    for (const int second : {1, 2, 3}) EXPECT_EQ(run(second, true, 12), whole) << first << ", then " << second;
  }
}

TEST_F(CheckpointKinds, AnOptimizerOfTheProgramsOwn) {
  const auto run = [&](int workers, bool resume, std::int64_t stop) {
    std::string hash;
    job::with_workers(workers, [&](job::Job& job) {
      Net net(resume ? 0.9F : 0.2F);
      const Line data(40);
      Trainer t(job, net.model, strategy::AllReduce{}, std::nullopt, {.slices = 3, .seed = 3, .sink = &silent});
      torch::optim::SGD sgd({net.body, net.head}, torch::optim::SGDOptions(0.05).momentum(0.9));
      std::string& kept = t.value("sgd");
      if (resume) {
        EXPECT_EQ(t.resume(folder()), stop);
        std::istringstream in(kept);
        torch::load(sgd, in);
      }
      std::int64_t done = t.steps_done();
      for (const data::Batch& b : t.batches(data, {.batch = 12, .steps = 9})) {
        if (!t.average(net.loss(b)).complete) continue;
        sgd.step();
        if (++done != stop || resume) continue;
        std::ostringstream out;
        torch::save(sgd, out);
        kept = out.str();
        t.save_checkpoint(folder());
        break;
      }
      if (job.rank() == 0) hash = sha256(t.parameters());
      EXPECT_TRUE(job.close().ok());
    });
    return hash;
  };
  const std::string whole = run(1, false, 99);
  for (const auto& [first, second] : {std::pair{1, 2}, {2, 3}, {3, 3}}) {
    std::filesystem::remove_all(folder());
    (void)run(first, false, 4);
    EXPECT_EQ(run(second, true, 4), whole) << first << ", then " << second;
  }
}

TEST_F(CheckpointKinds, AnOwnOptimizerThatDiffersBetweenWorkersIsRefused) {
  job::with_workers(2, [&](job::Job& job) {
    Net net;
    Trainer t(job, net.model, strategy::AllReduce{}, std::nullopt, {.sink = &silent});
    if (job.rank() == 1) {
      at::NoGradGuard no_grad;
      net.head.add_(1);
    }
    std::string why;
    EXPECT_EQ(code_of([&] { t.save_checkpoint(folder()); }, &why), Code::invalid);
    EXPECT_NE(why.find("parameters"), std::string::npos) << why;
    (void)job.close();
  });
  EXPECT_TRUE(checkpoint::list(folder()).empty());
}

/// Trains as a GAN is trained: the loop is the first trainer's, and the second trainer steps in it. A checkpoint has both, after whole iterations.
TEST_F(CheckpointKinds, AllTrainersOfAJobShareOne) {
  const auto run = [&](int workers, const strategy::Strategy& s, bool resume, std::int64_t stop) {
    std::string hashes;
    job::with_workers(workers, [&](job::Job& job) {
      Net a(resume ? 0.7F : 0.2F), b(0.3F);
      const Line data(40);
      const TrainerOptions options{.slices = 2, .seed = 3, .sink = &silent};
      Trainer ta(job, a.model, s, kAdam, options);
      Trainer tb(job, b.model, s, Sgd{.lr = 0.05, .momentum = 0.9}, options);
      if (resume) {
        EXPECT_EQ(ta.resume(folder()), 6);
        EXPECT_EQ(tb.resume(folder()), 6);
      }
      FitOptions fit{.batch = 8, .steps = 10};
      if (stop > 0) fit.checkpoint = {.folder = folder(), .every = 3};
      std::int64_t done = 0;
      for (const data::Batch& batch : ta.batches(data, fit)) {
        if (stop > 0 && done == stop) break;
        const at::Tensor of_b = b.loss(batch) + a.body.detach().square().sum() * b.head.sum() * 0.01;
        const bool whole = ta.step(a.loss(batch) + b.body.detach().sum() * a.body.sum() * 0.01).complete;
        tb.step(of_b);
        done += whole;
      }
      const std::string both = sha256(ta.parameters()) + sha256(tb.parameters());
      if (job.rank() == 0) hashes = both;
      EXPECT_TRUE(job.close().ok());
    });
    return hashes;
  };
  const strategy::Strategy servers = strategy::ParameterServer{.servers = 2}, ring = strategy::AllReduce{};
  const std::string whole = run(1, strategy::Single{}, false, 0);
  (void)run(2, ring, false, 8);
  EXPECT_EQ(run(2, servers, true, 0), whole);
  EXPECT_EQ(run(1, strategy::Single{}, true, 0), whole);
  const std::string part = folder() + "/" + checkpoint::folder_name(6) + "/" + checkpoint::trainer_name(1);
  EXPECT_TRUE(checkpoint::verify(part).ok()) << "it is a checkpoint by itself";
  std::filesystem::resize_file(part + "/owner-0.safetensors", 100);
  EXPECT_NE(
      checkpoint::verify(folder() + "/" + checkpoint::folder_name(6)).status().message().find("trainer-1/owner-0"),
      std::string::npos)
      << "what is wrong with a part is wrong with the whole";
}

TEST_F(CheckpointKinds, KeepTheRandomGeneratorsOfLoopsOfOnesOwn) {
  std::array<double, 2> drawn{};
  for (const bool resume : {false, true})
    job::with_workers(1, [&](job::Job& job) {
      Net net;
      Trainer t(job, net.model, strategy::Single{}, kAdam, {.sink = &silent});
      at::manual_seed(resume ? 1 : 77);
      if (resume) t.resume(folder());
      else t.save_checkpoint(folder());
      drawn[resume] = at::rand({}, at::kDouble).item<double>();
      EXPECT_TRUE(job.close().ok());
    });
  EXPECT_EQ(drawn[0], drawn[1]);
}

TEST_F(CheckpointKinds, AFolderIsOneJobsAtATime) {
  std::optional<checkpoint::FolderLock> held = *checkpoint::FolderLock::take(folder());
  job::with_workers(2, [&](job::Job& job) {
    Net net;
    const Line data(40);
    Trainer t(job, net.model, strategy::AllReduce{}, kAdam, {.sink = &silent});
    FitOptions fit{.batch = 4, .steps = 3};
    fit.checkpoint.folder = folder();
    const auto fits = [&] {
      t.fit(
          data, [&](const data::Batch& b) { return net.loss(b); }, fit);
    };
    std::string why;
    EXPECT_EQ(code_of(fits, &why), Code::invalid);
    EXPECT_NE(why.find("another job writes its checkpoints into this folder (process " + std::to_string(::getpid())),
              std::string::npos)
        << why;
    EXPECT_TRUE(job.close().ok());
  });
  held.reset();
  EXPECT_EQ(train(2, strategy::Strategy{kBounded}, folder(), false).updates, 30);
}

TEST_F(CheckpointKinds, ByTime) {
  job::with_workers(2, [&](job::Job& job) {
    Net net;
    const Line data(40);
    Trainer t(job, net.model, strategy::AllReduce{}, kAdam, {.sink = &silent});
    FitOptions fit{.batch = 4, .steps = 8};
    fit.checkpoint = {.folder = folder(), .every_s = 0.15, .keep = 100};
    for (const data::Batch& b : t.batches(data, fit)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      t.step(net.loss(b));
    }
    EXPECT_TRUE(job.close().ok());
  });
  const std::vector<std::int64_t> all = checkpoint::list(folder());
  EXPECT_GE(all.size(), 2u);
  EXPECT_LE(all.size(), 4u);
  EXPECT_EQ(all.back(), 8);
}

}  // namespace
}  // namespace cohaul::train
