#include "cohaul/train/groups.h"

#include <gtest/gtest.h>

#include "cohaul/update/optimizer_settings.h"

namespace cohaul::train {
namespace {

using Names = std::vector<std::vector<std::string>>;

const Names kNames = {{"embed.weight", "head.weight"}, {"layers.0.norm.weight"}, {"layers.0.norm.bias"}, {"head.bias"}};

Result<std::vector<std::int32_t>> assign(std::vector<ParameterGroup> groups) { return assign_groups(kNames, groups); }

TEST(Groups, TheFirstThatMatchesANameHasTheParameter) {
  EXPECT_EQ(*assign({}), (std::vector<std::int32_t>{0, 0, 0, 0}));
  EXPECT_EQ(*assign({{.match = {"*.bias", "*norm*"}}, {.match = {"head.*"}}}), (std::vector<std::int32_t>{2, 1, 1, 1}))
      << "a tied parameter goes by each of its names";
  EXPECT_EQ(*assign({{.match = {"layers.[0-3].*"}}, {.match = {"*"}}}), (std::vector<std::int32_t>{2, 1, 1, 2}));
}

TEST(Groups, APatternThatMatchesNothingIsAnError) {
  EXPECT_EQ(assign({{.match = {"*"}}, {.match = {"*.bias", "*.biass"}}}).status().message(),
            "no parameter's name matches \"*.biass\" of optimizer.group.1; the model has embed.weight, "
            "layers.0.norm.weight, layers.0.norm.bias, head.bias");
  EXPECT_TRUE(assign({{.match = {"*"}}, {.match = {"*.bias"}}}).ok()) << "one that comes too late is none";
}

TEST(Groups, SetWhatTheirRuleHas) {
  const auto message = [](const Optimizer& o) { return o.check().message(); };
  EXPECT_EQ(message(Sgd{.groups = {{.match = {"*"}, .beta1 = 0.5}}}),
            "optimizer.group.0: beta1 is not a setting of sgd");
  EXPECT_EQ(message(Adam{.groups = {{.match = {"a"}}, {.match = {"*"}, .nesterov = true}}}),
            "optimizer.group.1: nesterov is not a setting of adam");
  EXPECT_EQ(message(Sgd{.groups = {{.lr = 1}}}),
            "optimizer.group.0: match is empty: give patterns of parameters' names, such as \"*.bias\"");
  EXPECT_EQ(message(Sgd{.groups = {{.match = {"*"}, .lr = -1}}}),
            "optimizer.group.0: lr is -1; it must be a number not below 0");
  EXPECT_EQ(message(AdamW{.groups = {{.match = {"*"}, .trust_ratio = false}}}),
            "optimizer.group.0: trust_ratio is not a setting of adamw");
  EXPECT_EQ(message(Lamb{.groups = {{.match = {"*"}, .trust_coefficient = 1}}}),
            "optimizer.group.0: trust_coefficient is not a setting of lamb");
  EXPECT_EQ(message(Lars{.groups = {{.match = {"*"}, .momentum = 0, .trust_coefficient = 1, .trust_ratio = false}}}),
            "");
  const auto settings = Adam{.lr = 0.5, .groups = {{.match = {"*"}, .eps = 1}}};
  const auto of_groups = Optimizer(settings).settings();
  ASSERT_TRUE(of_groups.ok());
  EXPECT_EQ(of_groups->groups[1].lr, 0.5);
  EXPECT_EQ(of_groups->groups[1].eps, 1);
  EXPECT_EQ(of_groups->groups[0].eps, 1e-8);
}

}  // namespace
}  // namespace cohaul::train
