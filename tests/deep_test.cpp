// Runs shortened versions of jobs/deep_plain.toml and jobs/deep_residual.toml, which show why deep nets have residuals and norms.

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "train_runs.h"

namespace cohaul::tests {
namespace {

struct Short {
  double loss = 0;   // loss of the test set
  double first = 0;  // norm of the first layer's gradient in the first update, divided by that of the last layer's
};

Short run(const std::string& job) {
  const RunResult r = train(std::string(COHAUL_JOBS "/") + job + ".toml",
                            set({"train.steps=200", "train.watch_gradients=200", "job.threads=1"}));
  EXPECT_EQ(r.exit, 0) << r.err;
  EXPECT_NE(r.err.find("gradients of step 1\n"), std::string::npos) << r.err;
  Short out{.loss = r.result().value("loss", 0.0)};
  for (const auto& line : r.record) {
    if (line.value("record", "") != "gradients" || line.value("step", 0) != 1) continue;
    out.first = line["norm"].value("in.weight", -1.0) / line["norm"].value("out.weight", 0.0);
  }
  return out;
}

TEST(Deep, ThePlainNetsGradientVanishesAndItLearnsNothing) {
  const Short plain = run("deep_plain");
  EXPECT_NEAR(plain.loss, std::log(10), 0.01);
  EXPECT_GE(plain.first, 0);
  EXPECT_LT(plain.first, 1e-6);
}

TEST(Deep, WithResidualsAndNormsItLearns) {
  const Short residual = run("deep_residual");
  EXPECT_LT(residual.loss, 0.9);
  EXPECT_GT(residual.first, 1e-2);
}

}  // namespace
}  // namespace cohaul::tests
