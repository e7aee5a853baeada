// Tests of `cohaul kubernetes`: its whole output (golden/), and its errors. tests/readers_test.cpp reads the output as YAML.

#include "cohaul/cli/kubernetes_command.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "cohaul/base/temporary_folder.h"

namespace cohaul::cli {
namespace {

constexpr const char* kJob = R"([model]
name = "mlp"

[data]
name = "fashion-mnist"

[train]
batch = 64  # samples
steps = 1000
)";

class Kubernetes : public testing::Test {
 protected:
  void SetUp() override {
    auto made = TemporaryFolder::make("cohaul-kubernetes");
    ASSERT_TRUE(made.ok()) << made.status().message();
    own_ = std::move(*made);
  }
  KubernetesArguments arguments(const std::string& more = "", const std::string& file = "mlp.toml") const {
    const std::string path = own_.path() + "/" + file;
    std::ofstream(path) << kJob << more;
    return {.job_file = path, .image = "registry/cohaul:0.1", .workers = 4};
  }
  /// Returns its output, or the error's message.
  std::string printed(const KubernetesArguments& a) {
    warnings_.clear();
    const Result<std::string> manifest = kubernetes_manifest(a, warnings_);
    return manifest.ok() ? *manifest : "mistake: " + manifest.status().message();
  }
  void refused(const KubernetesArguments& a, const std::string& message) {
    const std::string said = printed(a);
    EXPECT_TRUE(said.starts_with("mistake: ")) << said;
    EXPECT_NE(said.find(message), std::string::npos) << said;
  }
  void is_golden(const std::string& name, const KubernetesArguments& a) {
    const std::string file = std::string(COHAUL_GOLDEN "/") + name, now = own_.path() + "/" + name;
    std::ifstream in(file);
    const std::string golden((std::istreambuf_iterator<char>(in)), {}), said = printed(a);
    EXPECT_EQ(said, golden) << "if it should be so, put it into " << file;
    EXPECT_EQ(warnings_, std::vector<std::string>());
  }
  TemporaryFolder own_;
  std::vector<std::string> warnings_;
};

TEST_F(Kubernetes, WorkersAlone) { is_golden("workers.yaml", arguments()); }

TEST_F(Kubernetes, ServersRestartsAndVolumes) {
  KubernetesArguments a = arguments(
      "save = \"/data/end.safetensors\"\ncheckpoint = \"/data/checkpoints\"\n[job]\nrestarts = 3\n", "Big_Run 2.toml");
  a.servers = 2;
  a.sets = {"strategy.name=parameter_server", "data.path=/sets/fashion", "job.stop_grace_s=60.5"};
  a.volumes = {"training:/data/", "sets.v2:/sets"};
  a.space = "research";
  a.secret = "ours";
  a.cpus = "3500m";
  a.memory = "8Gi";
  a.program = "/opt/$HOME/worker";
  is_golden("servers.yaml", a);
}

TEST_F(Kubernetes, MistakesInTheJobAreToldHere) {
  KubernetesArguments a = arguments("btach = 3\n");
  refused(a, "mlp.toml:10: train.btach: unknown key");
  a = arguments();
  a.workers = 0;
  refused(a, "--workers: job.workers = 0");
  a = arguments();
  a.servers = 2;
  refused(a, "strategy.servers = 2: ");
  refused(arguments("[job]\nrestarts = 2\n"), "train.checkpoint is not set");
  refused(arguments("[job]\nsecret = \"s\"\n"), "--secret NAME");
  a = arguments("checkpoint = \"/data/c\"\nresume = \"off\"\n[job]\nrestarts = 2\n");
  a.volumes = {"c:/data"};
  refused(a, "train.resume = \"off\": ");
}

TEST_F(Kubernetes, PathsThatPodsDoNotShare) {
  refused(arguments("checkpoint = \"checkpoints\"\n"),
          "mlp.toml:10: train.checkpoint: a pod has the job file, and nothing beside it: give --volume CLAIM:/data");
  refused(arguments("save = \"/tmp/end\"\n"), "mlp.toml:10: train.save: /tmp/end lies on no volume, and would be lost");
  refused(arguments("[job]\nlogs = \"/logs\"\n"), "job.logs: /logs lies on no volume");
  KubernetesArguments a = arguments();
  a.sets = {"train.save=end"};  // relative to this host's working folder
  refused(a, "--set: train.save: " + std::filesystem::current_path().string() + "/end lies on no volume");
  a = arguments("save = \"/database/end\"\n");
  a.volumes = {"c:/data"};
  refused(a, "/database/end lies on no volume");
  a = arguments();
  a.sets = {"data.path=/sets"};
  EXPECT_TRUE(printed(a).starts_with("#"));
  EXPECT_EQ(warnings_, std::vector<std::string>{"--set: data.path: /sets lies on no volume, so the image must have it; "
                                                "otherwise give --volume CLAIM:/data, and a path in /data"});
}

TEST_F(Kubernetes, NamesAndQuantities) {
  const auto with = [&](auto member, const auto& value) {
    KubernetesArguments a = arguments();
    a.*member = value;
    return a;
  };
  refused(with(&KubernetesArguments::name, "My_Job"), "--name My_Job: Kubernetes takes names of small letters");
  refused(with(&KubernetesArguments::name, "9lives"), "must begin with a letter");
  refused(with(&KubernetesArguments::name, std::string(49, 'a')), "has 49 characters, and may have 48 here");
  refused(with(&KubernetesArguments::space, "a.b"), "--namespace a.b");
  refused(with(&KubernetesArguments::secret, ""), "--secret");
  refused(with(&KubernetesArguments::image, "a b"), "--image a b");
  for (const char* cpus : {"four", "0", "-1", "4Gi", "nan"}) refused(with(&KubernetesArguments::cpus, cpus), "--cpus");
  for (const char* memory : {"8GiB", "lots", "0", "m"}) refused(with(&KubernetesArguments::memory, memory), "--memory");
  for (const char* volume : {"data", "data:data", ":/data", "data:/", "Data:/data", "data:/etc/cohaul"})
    refused(with(&KubernetesArguments::volumes, std::vector<std::string>{volume}), "--volume");
  EXPECT_NE(printed(arguments("", "9.toml")).find("name: \"job-9\""), std::string::npos);
}

TEST_F(Kubernetes, OnePodNeedsNoSecret) {
  KubernetesArguments a = arguments();
  a.workers = 1;
  EXPECT_EQ(printed(a).find("COHAUL_SECRET"), std::string::npos);
  EXPECT_NE(printed(arguments()).find("COHAUL_SECRET"), std::string::npos);
  EXPECT_EQ(printed(arguments("[job]\nplaintext = true\n")).find("COHAUL_SECRET"), std::string::npos);
}

}  // namespace
}  // namespace cohaul::cli
