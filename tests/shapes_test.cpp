// Trains the zoo's models on data with other sizes and numbers of classes than MNIST's: the models follow the data.

#include <gtest/gtest.h>

#include "broken_files.h"
#include "cohaul/checkpoint/safetensors.h"
#include "train_runs.h"

namespace cohaul::tests {
namespace {

constexpr const char* kJob = R"([model]
name = "softmax"
[data]
name = "idx"
path = "data"
[train]
batch = 8
steps = 3
save = "end.safetensors"
[job]
threads = 1
)";

struct Fit {
  std::string model;
  std::vector<std::string> sets;
  std::string last;  // the parameter with one value for each class
};
void PrintTo(const Fit& f, std::ostream* out) { *out << f.model; }

class Zoo : public testing::TestWithParam<Fit> {
 protected:
  static void expect_trained(const IdxSizes& sizes, const Arguments& more) {
    Running running(Arguments{"train", "{}/job.toml", "--quiet"} + set({"model.name=" + GetParam().model}) +
                        set(GetParam().sets) + more,
                    job_folder(kJob, sizes));
    ASSERT_EQ(running.wait(120), 0) << running.err();
    const auto saved = checkpoint::read(running.folder() + "/end.safetensors");
    ASSERT_TRUE(saved.ok()) << saved.status().message();
    std::vector<std::int64_t> shape;
    for (const auto& t : saved->tensors())
      if (t.name == GetParam().last) shape = t.shape;
    EXPECT_EQ(shape, std::vector<std::int64_t>{sizes.label_max + 1});
  }
};

TEST_P(Zoo, HasTheClassesOfEmnistBalanced) { expect_trained({.images = 94, .labels = 94, .label_max = 46}, {}); }

TEST_P(Zoo, HasTheClassesOfEmnistByClassOnTwoWorkers) {
  expect_trained({.images = 124, .labels = 124, .label_max = 61}, {"--workers", "2"});
}

TEST_P(Zoo, TakesImagesOfOtherSizes) { expect_trained({.rows = 13, .columns = 20, .label_max = 2}, {}); }

INSTANTIATE_TEST_SUITE_P(Models, Zoo,
                         testing::Values(Fit{"softmax", {}, "bias"}, Fit{"mlp", {"model.width=16"}, "4.bias"},
                                         Fit{"cnn", {}, "9.bias"}, Fit{"resnet18", {"model.width=4"}, "fc.bias"},
                                         Fit{"deep", {"model.width=8", "model.depth=3"}, "out.bias"}),
                         [](const auto& info) { return info.param.model; });

}  // namespace
}  // namespace cohaul::tests
