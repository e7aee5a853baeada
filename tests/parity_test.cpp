// Tests that N processes give the result of one process: bit for bit where the order of sums is fixed, and close to independent arithmetic
// everywhere.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <ostream>
#include <string>
#include <vector>

#include "broken_files.h"
#include "cohaul/base/random.h"
#include "cohaul/checkpoint/safetensors.h"
#include "softmax_reference.h"
#include "train_runs.h"

namespace cohaul::tests {
namespace {

Arguments servers(int workers, int n) {
  return set({"job.workers=" + std::to_string(workers), "strategy.name=parameter_server",
              "strategy.servers=" + std::to_string(n)});
}
Arguments all_reduce(int workers) {
  return set({"job.workers=" + std::to_string(workers), "strategy.name=all_reduce"});
}

std::string job(const std::string& model) { return COHAUL_JOBS "/" + model + ".toml"; }

/// Returns the modes whose sums have one order. Each appears twice, because messages arrive in another order in each run.
std::vector<Arguments> exact_modes() {
  std::vector<Arguments> out;
  for (int repetition = 0; repetition < 2; ++repetition)
    for (int workers : {2, 4}) {
      out.push_back(all_reduce(workers));
      out.push_back(all_reduce(workers) + set({"job.transport=tcp"}));
      for (int n : {1, 2, 3}) out.push_back(servers(workers, n));
      out.push_back(servers(workers, 2) + set({"job.transport=tcp"}));
    }
  return out;
}

struct Case {
  const char* model;
  int steps, batch;
  Arguments smaller{};  // settings that make a large model faster
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.model << ", " << c.steps << " steps of " << c.batch; }

class Parity : public testing::TestWithParam<Case> {};

TEST_P(Parity, EveryModeHasTheBitsOfOneProcess) {
  const TemporaryFolder data = fresh_folder();
  write_fashion_mnist(data.file("data"), 500);
  const Arguments common =
      set({"data.name=idx", "data.path=" + data.file("data"), "train.slices=4", "job.threads=1",
           "train.steps=" + std::to_string(GetParam().steps), "train.batch=" + std::to_string(GetParam().batch)}) +
      GetParam().smaller;
  RunResult one = train(job(GetParam().model), common);
  ASSERT_EQ(one.exit, 0) << one.err;
  ASSERT_EQ(one.hash().size(), 64u);
  for (const Arguments& mode : exact_modes()) {
    RunResult many = train(job(GetParam().model), mode + common);
    ASSERT_EQ(many.exit, 0) << many.err;
    EXPECT_EQ(many.hash(), one.hash()) << testing::PrintToString(mode);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Parity,
                         testing::Values(Case{"softmax", 100, 100}, Case{"mlp", 12, 64}, Case{"cnn", 6, 32},
                                         Case{"resnet18", 6, 32, set({"model.width=4"})},
                                         Case{"deep_residual", 12, 64}),
                         [](const auto& info) { return info.param.model; });

TEST(Slices, UnequalOnesToo) {
  Arguments common = set({"job.threads=1", "train.steps=50", "train.batch=97"});
  RunResult one = train(job("softmax"), common + set({"train.slices=3"}));
  ASSERT_EQ(one.exit, 0) << one.err;
  EXPECT_EQ(train(job("softmax"), common + all_reduce(3)).hash(), one.hash());
  EXPECT_EQ(train(job("softmax"), common + servers(3, 2)).hash(), one.hash());
}

TEST(Layerwise, RulesHaveTheBitsOfOneProcessInEveryMode) {
  for (const char* rule : {"lars", "lamb"}) {
    const Arguments common = set({std::string("optimizer.name=") + rule, "optimizer.lr=0.01", "train.slices=6",
                                  "job.threads=1", "train.steps=40", "optimizer.clip_norm=1"});
    const RunResult one = train(job("softmax"), common);
    ASSERT_EQ(one.exit, 0) << one.err;
    for (const Arguments& mode : {all_reduce(3), all_reduce(2) + set({"job.transport=tcp"}), servers(3, 2)}) {
      const RunResult many = train(job("softmax"), mode + common);
      ASSERT_EQ(many.exit, 0) << many.err;
      EXPECT_EQ(many.hash(), one.hash()) << rule << testing::PrintToString(mode);
    }
    const RunResult async =
        train(job("softmax"), common + set({"train.slices=1"}) + servers(1, 2) + set({"strategy.consistency=async"}));
    const RunResult alone = train(job("softmax"), common + set({"train.slices=1"}));
    EXPECT_EQ(async.hash(), alone.hash()) << async.err;
  }
}

TEST(Asynchronous, OneWorkerHasTheBitsOfOneProcess) {
  Arguments common = set({"job.threads=1", "train.steps=100"});
  RunResult one = train(job("softmax"), common);
  ASSERT_EQ(one.exit, 0) << one.err;
  RunResult async = train(job("softmax"), common + servers(1, 2) + set({"strategy.consistency=async"}));
  ASSERT_EQ(async.exit, 0) << async.err;
  EXPECT_EQ(async.hash(), one.hash());
}

TEST(Ema, TheResultIsOfTheAveragesInEveryMode) {
  const TemporaryFolder folder = fresh_folder();
  const std::string file = folder.file("averages.safetensors");
  const Arguments common = set({"train.slices=6", "job.threads=1", "train.steps=40"});
  const Arguments averaged = common + set({"train.ema=0.9", "train.save=" + file});
  const RunResult plain = train(job("softmax"), common), one = train(job("softmax"), averaged);
  ASSERT_EQ(one.exit, 0) << one.err;
  EXPECT_NE(one.hash(), plain.hash());
  EXPECT_NE(one.result().value("loss", 0.0), plain.result().value("loss", 0.0));
  // The saved parameters have the result's loss: shown by a run of one step at rate 0 that starts from them.
  const RunResult from = train(job("softmax"), set({"train.init=" + file, "train.steps=1", "optimizer.lr=0"}));
  EXPECT_EQ(from.hash(), one.hash()) << from.err;
  EXPECT_EQ(train(job("softmax"), averaged + set({"train.use_ema=false"})).hash(), plain.hash());
  for (const Arguments& mode : {all_reduce(3), all_reduce(2) + set({"job.transport=tcp"}), servers(3, 2)}) {
    const RunResult many = train(job("softmax"), mode + averaged);
    EXPECT_EQ(many.hash(), one.hash()) << testing::PrintToString(mode) << many.err;
    EXPECT_EQ(many.result().value("loss", 0.0), one.result().value("loss", 0.0));
  }
  const Arguments alone = set({"train.slices=1", "job.threads=1", "train.steps=40", "train.ema=0.9"});
  const RunResult async = train(job("softmax"), alone + servers(1, 2) + set({"strategy.consistency=async"}));
  EXPECT_EQ(async.hash(), train(job("softmax"), alone).hash()) << async.err;
}

TEST(Plateau, FollowsTheEvaluationsOfAJob) {
  const Arguments common =
      set({"job.threads=1", "train.slices=2", "train.steps=40", "train.log_every=1", "train.eval_every=5",
           "schedule.name=plateau", "schedule.patience=0", "schedule.threshold=0.99", "schedule.factor=0.5"});
  const RunResult one = train(job("softmax"), common);
  ASSERT_EQ(one.exit, 0) << one.err;
  // The first evaluation is the best, since no other loss can be a hundredth of it.
  std::vector<double> rates;
  for (const auto& line : one.record)
    if (line.value("record", "") == "step") rates.push_back(line.value("lr", 0.0));
  ASSERT_EQ(rates.size(), 40u);
  for (std::size_t k = 0; k < rates.size(); ++k)
    EXPECT_DOUBLE_EQ(rates[k], rates[0] * std::pow(0.5, k < 10 ? 0 : k / 5 - 1)) << k;
  EXPECT_EQ(train(job("softmax"), common + servers(2, 2)).hash(), one.hash());
  EXPECT_EQ(train(job("softmax"), common + set({"strategy.name=parameter_server", "strategy.consistency=async"})).exit,
            2);
}

TEST(Asynchronous, ReachesTheAccuracyOfOneProcess) {
  Arguments common = set({"job.threads=1", "train.steps=1000"});
  double one = train(job("softmax"), common).result().value("accuracy", 0.0);
  for (const Arguments& mode :
       {set({"strategy.consistency=async"}), set({"strategy.consistency=bounded", "strategy.staleness=3"})}) {
    RunResult r = train(job("softmax"), common + servers(4, 2) + mode);
    ASSERT_EQ(r.exit, 0) << r.err;
    EXPECT_NEAR(r.result().value("accuracy", 0.0), one, 0.01);
  }
}

/// Writes random parameters into a file to start from.
SoftmaxModel random_model(const std::string& path) {
  Random random(11);
  std::vector<float> weight(7840), bias(10);
  for (float& w : weight) w = static_cast<float>((random.uniform() - 0.5) * 0.1);
  for (float& b : bias) b = static_cast<float>((random.uniform() - 0.5) * 0.1);
  std::vector<checkpoint::TensorView> views = {
      {"weight", checkpoint::TensorType::f32, {10, 784}, as_bytes(std::span<const float>(weight))},
      {"bias", checkpoint::TensorType::f32, {10}, as_bytes(std::span<const float>(bias))}};
  EXPECT_TRUE(checkpoint::write(path, views).ok());
  return {{weight.begin(), weight.end()}, {bias.begin(), bias.end()}};
}

double largest_difference(const std::string& file, const SoftmaxModel& expected) {
  auto read = checkpoint::read(file);
  if (!read.ok()) return INFINITY;
  double worst = 0;
  auto compare = [&](const char* name, const std::vector<double>& values) {
    const checkpoint::TensorView* t = read->find(name);
    std::vector<float> got(values.size());
    if (!t || t->data.size() != got.size() * sizeof(float)) return worst = INFINITY, void();
    std::memcpy(got.data(), t->data.data(), t->data.size());
    for (std::size_t i = 0; i < got.size(); ++i) worst = std::max(worst, std::abs(got[i] - values[i]));
  };
  compare("weight", expected.weight);
  compare("bias", expected.bias);
  return worst;
}

TEST(Reference, EverySynchronousModeAndTensorFollowPlainDoublePrecision) {
  const TemporaryFolder folder = fresh_folder();
  SoftmaxModel expected = random_model(folder.file("init.safetensors"));
  const std::string data = "/usr/share/datasets/fashion-mnist/train-";
  Images images = read_images(data + "images-idx3-ubyte.gz", data + "labels-idx1-ubyte.gz");
  train(expected, images, 97, 700, 0.01);  // 67,900 samples: past the end of the data set
  Arguments common =
      set({"train.steps=700", "train.batch=97", "data.shuffle=false", "optimizer.lr=0.01", "job.threads=1",
           "train.init=" + folder.file("init.safetensors"), "train.save=" + folder.file("end.safetensors")});
  Arguments tensor = set({"job.workers=2", "strategy.name=tensor"});
  for (const Arguments& mode : {Arguments{}, all_reduce(3), servers(3, 2), tensor}) {
    RunResult r = train(job("softmax"), mode + common);
    ASSERT_EQ(r.exit, 0) << r.err;
    EXPECT_LT(largest_difference(folder.file("end.safetensors"), expected), 2e-5) << testing::PrintToString(mode);
  }
}

}  // namespace
}  // namespace cohaul::tests
