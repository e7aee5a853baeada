// Engines on the variables that the real ones set (recorded/), and on what is missing or wrong in them.

#include "cohaul/job/engines/place.h"

#include <gtest/gtest.h>

#include <fstream>

#include "cohaul/job/engines/read.h"
#include "cohaul/job/job_id.h"
#include "cohaul/job/told_variables.h"

namespace cohaul::job {
namespace {

Variables recorded(const std::string& name) {
  std::ifstream in(std::string(COHAUL_RECORDED) + "/" + name + ".env");
  EXPECT_TRUE(in) << name;
  Variables out;
  for (std::string line; std::getline(in, line);)
    out.emplace(line.substr(0, line.find('=')), line.substr(line.find('=') + 1));
  return out;
}

Place place_of(const std::string& name) {
  const Result<std::optional<Place>> place = find_place(recorded(name));
  EXPECT_TRUE(place.ok()) << place.status().message();
  EXPECT_TRUE(place.ok() && *place) << name;
  return place.ok() && *place ? **place : Place();
}

std::string mistake(Variables variables, const std::map<std::string, std::string>& changes) {
  for (const auto& [name, value] : changes) variables[name] = value;
  const Result<std::optional<Place>> place = find_place(variables);
  if (!place.ok()) return std::string(place.status().message());
  return *place ? std::string((*place)->mistake.message()) : "";
}

struct Recording {
  std::string name, engine;
  int tasks, tasks_on_host;
  std::string meet_at;
  Directory directory;
};
void PrintTo(const Recording& recording, std::ostream* out) { *out << recording.name; }

class Recorded : public testing::TestWithParam<Recording> {};

TEST_P(Recorded, EveryTaskKnowsItsPlaceAndAllTheSameRun) {
  const Recording& r = GetParam();
  std::string run;
  for (int task = 0; task < r.tasks; ++task) {
    const Place place = place_of(r.name + "." + std::to_string(task));
    EXPECT_EQ(place.engine, r.engine);
    EXPECT_EQ(place.task, task);
    EXPECT_EQ(place.tasks, r.tasks);
    EXPECT_EQ(place.tasks_on_host, r.tasks_on_host);
    EXPECT_EQ(place.meet_at, r.meet_at);
    EXPECT_EQ(place.directory, r.directory);
    EXPECT_TRUE(place.ends_with_engine);
    EXPECT_TRUE(place.mistake.ok());
    if (task == 0) run = place.run_name;
    EXPECT_EQ(place.run_name, run);
    EXPECT_EQ(run.empty(), r.directory == Directory::pmi);  // MPICH says it when asked
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, Recorded,
                         testing::Values(Recording{"open_mpi_1x2", "Open MPI", 2, 2, "127.0.0.1", Directory::none},
                                         Recording{"open_mpi_2x2", "Open MPI", 4, 2, "", Directory::pmix},
                                         Recording{"mpich_1x2", "MPICH", 2, 2, "127.0.0.1", Directory::pmi},
                                         Recording{"mpich_2x2", "MPICH", 4, 2, "", Directory::pmi},
                                         Recording{"slurm_1x2", "Slurm", 2, 2, "127.0.0.1", Directory::none},
                                         Recording{"slurm_2x2", "Slurm", 4, 2, "node0", Directory::none},
                                         Recording{"slurm_batch_step", "Slurm", 4, 2, "node0", Directory::none},
                                         Recording{"torchrun_1x2", "torchrun", 2, 2, "localhost", Directory::none},
                                         Recording{"torchrun_2x2", "torchrun", 4, 2, "localhost", Directory::none}),
                         [](const auto& info) { return info.param.name; });

TEST(Engines, SlurmCountsTheTasksOfEachNode) {
  EXPECT_EQ(place_of("slurm_2_1.0").tasks_on_host, 2);
  EXPECT_EQ(place_of("slurm_2_1.1").tasks_on_host, 2);
  EXPECT_EQ(place_of("slurm_2_1.2").tasks_on_host, 1);
  EXPECT_EQ(tasks_of_node("3(x2),1", 0), 3);
  EXPECT_EQ(tasks_of_node("3(x2),1", 1), 3);
  EXPECT_EQ(tasks_of_node("3(x2),1", 2), 1);
  for (const char* bad : {"", "x", "3(x2),1", ",,", "0", "-1(x9)"}) EXPECT_EQ(tasks_of_node(bad, 3), 0) << bad;
}

TEST(Engines, SlurmsFirstHost) {
  EXPECT_EQ(first_host("node[0-1,7]"), "node0");
  EXPECT_EQ(first_host("node[007-12]"), "node007");
  EXPECT_EQ(first_host("login,node[0-1]"), "login");
  EXPECT_EQ(first_host("a[3,5]b[1-2],c"), "a3b1");
  EXPECT_EQ(first_host("one"), "one");
  EXPECT_EQ(first_host(""), "");
  EXPECT_EQ(first_host("broken[1-"), "broken1");
}

TEST(Engines, ATryAndAStepAreRunsOfTheirOwn) {
  const auto run = [](Variables v, const char* name, const char* value) {
    v[name] = value;
    return find_place(v).value()->run_name;
  };
  const Variables slurm = recorded("slurm_2x2.1"), torchrun = recorded("torchrun_2x2.1");
  const std::string first = find_place(slurm).value()->run_name;
  EXPECT_EQ(run(slurm, "SLURM_RESTART_COUNT", "0"), first);
  EXPECT_NE(run(slurm, "SLURM_RESTART_COUNT", "1"), first);
  EXPECT_NE(run(slurm, "SLURM_STEP_ID", "1"), first);
  EXPECT_NE(run(slurm, "SLURM_JOB_ID", "99"), first);
  EXPECT_NE(run(torchrun, "TORCHELASTIC_RESTART_COUNT", "1"), find_place(torchrun).value()->run_name);
  EXPECT_NE(ports_of(first), ports_of(run(slurm, "SLURM_STEP_ID", "1")));
  EXPECT_EQ(ports_of(first), ports_of(first));
}

/// A pod of `cohaul kubernetes`.
Variables pod(int index) {
  return {{"JOB_COMPLETION_INDEX", std::to_string(index)},
          {"COHAUL_TASKS", "4"},
          {"COHAUL_MEET_AT", "mlp-task-0-0.mlp"},
          {"JOBSET_NAME", "mlp"},
          {"JOBSET_RESTART_ATTEMPT", "0"},
          {"JOB_UID", "5f1d"},
          {"KUBERNETES_SERVICE_HOST", "10.0.0.1"}};
}

/// A pod of Kubeflow's Trainer, beside what Kubernetes sets.
Variables kubeflow_pod(int index) {
  return {{"JOB_COMPLETION_INDEX", std::to_string(index)},
          {"PET_NODE_RANK", std::to_string(index)},
          {"PET_NNODES", "3"},
          {"PET_NPROC_PER_NODE", "1"},
          {"PET_MASTER_ADDR", "mnist-node-0-0.mnist"},
          {"PET_MASTER_PORT", "29500"}};
}

TEST(Engines, PodsOfKubernetes) {
  const Place place = find_place(pod(3)).value().value();
  EXPECT_EQ(place.engine, "Kubernetes");
  EXPECT_EQ(place.task, 3);
  EXPECT_EQ(place.tasks, 4);
  EXPECT_EQ(place.tasks_on_host, 1);
  EXPECT_EQ(place.meet_at, "mlp-task-0-0.mlp");
  EXPECT_FALSE(place.ends_with_engine);
  EXPECT_EQ(place.run_name, find_place(pod(0)).value()->run_name);
  for (const char* name : {"JOBSET_NAME", "JOBSET_RESTART_ATTEMPT", "JOB_UID"}) {
    Variables other = pod(3);
    other[name] = "7";
    EXPECT_NE(find_place(other).value()->run_name, place.run_name) << name;
  }
  Variables alone = pod(0);
  alone["COHAUL_TASKS"] = "1";
  EXPECT_EQ(find_place(alone).value()->tasks, 1);
  EXPECT_TRUE(find_place(alone).value()->mistake.ok());
  EXPECT_FALSE(find_place({{"JOB_COMPLETION_INDEX", "0"}})->has_value());  // a Job of programs that do not meet
  Variables within = pod(0);
  within.merge(recorded("torchrun_2x2.1"));
  EXPECT_EQ(find_place(within).value()->engine, "torchrun");
}

TEST(Engines, PodsOfKubernetesThatLackSomething) {
  const auto without = [](const char* name) { return mistake(pod(1), {{name, ""}}); };
  EXPECT_NE(without("JOB_COMPLETION_INDEX").find("completionMode: Indexed"), std::string::npos);
  EXPECT_NE(without("COHAUL_TASKS").find("COHAUL_TASKS is not set"), std::string::npos);
  EXPECT_NE(without("COHAUL_MEET_AT").find("COHAUL_MEET_AT is not set"), std::string::npos);
  EXPECT_EQ(without("JOB_UID"), "");
  EXPECT_NE(mistake(pod(1), {{"JOB_UID", ""}, {"JOBSET_NAME", ""}}).find("JOB_UID is not set"), std::string::npos);
  EXPECT_EQ(mistake(pod(1), {{"JOB_UID", ""}, {"JOBSET_NAME", ""}, {"COHAUL_JOB", "mine"}}), "");
  EXPECT_NE(mistake(pod(4), {}).find("JOB_COMPLETION_INDEX is '4'"), std::string::npos);
}

TEST(Engines, PodsOfKubeflow) {
  const Place place = find_place(kubeflow_pod(2)).value().value();
  EXPECT_EQ(place.engine, "Kubeflow");
  EXPECT_EQ(place.task, 2);
  EXPECT_EQ(place.tasks, 3);
  EXPECT_EQ(place.meet_at, "mnist-node-0-0.mnist:29500");
  for (const auto& [name, value] : std::map<std::string, std::string>{{"PET_NPROC_PER_NODE", "4"},
                                                                      {"PET_NPROC_PER_NODE", "auto"},
                                                                      {"PET_NODE_RANK", ""},
                                                                      {"PET_NNODES", "1:3"},
                                                                      {"PET_MASTER_ADDR", ""},
                                                                      {"PET_MASTER_PORT", ""}}) {
    const std::string said = mistake(kubeflow_pod(2), {{name, value}});
    EXPECT_NE(said.find(name), std::string::npos) << said;
    EXPECT_NE(said.find("torchrun --no-python"), std::string::npos) << said;
  }
  // torchrun in such a pod, on one host with one process.
  Variables v = kubeflow_pod(0);
  for (const auto& [name, value] : std::map<std::string, std::string>{{"PET_NNODES", "1"},
                                                                      {"PET_NPROC_PER_NODE", "auto"},
                                                                      {"RANK", "0"},
                                                                      {"WORLD_SIZE", "1"},
                                                                      {"TORCHELASTIC_RUN_ID", "none"}})
    v[name] = value;
  EXPECT_EQ(find_place(v).value()->engine, "torchrun");
  EXPECT_TRUE(find_place(v).value()->mistake.ok());
}

TEST(Engines, NobodyStartedIt) {
  EXPECT_FALSE(find_place({})->has_value());
  EXPECT_FALSE(find_place({{"PATH", "/bin"}, {"PMI_RANK", "0"}})->has_value());
  Variables v = recorded("slurm_2x2.1");
  v["COHAUL_ENGINE"] = "none";
  EXPECT_FALSE(find_place(v)->has_value());
  EXPECT_NE(mistake(v, {{"COHAUL_ENGINE", "slurm"}}).find("COHAUL_ENGINE is 'slurm'"), std::string::npos);
}

TEST(Engines, AForgottenSrunIsToldSo) {
  for (const char* name : {"slurm_batch_script.0", "slurm_salloc.alone"}) {
    const Place place = place_of(name);
    EXPECT_EQ(place.tasks, 1);
    EXPECT_NE(place.mistake.message().find("start the program with srun"), std::string::npos)
        << place.mistake.message();
  }
  EXPECT_EQ(mistake(recorded("slurm_salloc.alone"), {{"SLURM_NTASKS", "1"}}), "");
}

TEST(Engines, OneOfSeveralTasksIsNotAlone) {
  const std::map<std::string, std::string> alone{{"RANK", "0"}, {"WORLD_SIZE", "1"}};
  const std::string said = mistake(recorded("slurm_2x2.1"), alone);
  EXPECT_NE(said.find("Slurm has started 4"), std::string::npos) << said;
  EXPECT_NE(mistake(recorded("open_mpi_1x2.1"), alone).find("Open MPI has started 2"), std::string::npos);
  EXPECT_NE(mistake(recorded("slurm_batch_script.0"), alone).find("srun"), std::string::npos);
  // A launcher within a task of another's: the inner one counts.
  Variables v = recorded("slurm_2x2.1");
  v.merge(recorded("open_mpi_1x2.1"));
  EXPECT_EQ(find_place(v).value()->engine, "Open MPI");
}

TEST(Engines, WhatIsMissingOrWrongIsNamed) {
  const auto without = [](const std::string& recording, const std::string& name) {
    return mistake(recorded(recording), {{name, ""}});
  };
  EXPECT_EQ(without("open_mpi_1x2.1", "OMPI_COMM_WORLD_SIZE"),
            "the environment variable OMPI_COMM_WORLD_SIZE is not set");
  EXPECT_NE(without("open_mpi_1x2.1", "PMIX_NAMESPACE").find("PMIX_NAMESPACE"), std::string::npos);
  EXPECT_EQ(without("slurm_2x2.1", "SLURM_PROCID"), "the environment variable SLURM_PROCID is not set");
  EXPECT_NE(without("slurm_2x2.1", "SLURM_STEP_NODELIST"), "some older name of it has no host");
  EXPECT_EQ(without("mpich_1x2.1", "PMI_SIZE"), "the environment variable PMI_SIZE is not set");
  EXPECT_EQ(mistake(recorded("slurm_2x2.1"), {{"SLURM_PROCID", "4"}}),
            "the environment variable SLURM_PROCID is '4': it should be a rank in 0 … 3");
  EXPECT_NE(mistake(recorded("mpich_1x2.1"), {{"PMI_FD", "six"}}).find("PMI_FD is 'six'"), std::string::npos);
  EXPECT_NE(mistake(recorded("torchrun_1x2.1"), {{"MASTER_PORT", "65536"}}).find("MASTER_PORT"), std::string::npos);
}

TEST(ToldVariables, SecretsAreMaskedAndOthersLeftOut) {
  const Variables told = told_variables({{"COHAUL_SECRET", "abc"},
                                         {"COHAUL_SECRET_FILE", "/x/secret"},
                                         {"COHAUL_TLS_KEY", "/x/key.pem"},
                                         {"COHAUL_TOKEN", "7"},
                                         {"SLURM_JWT", "abc"},
                                         {"SLURM_NTASKS", "4"},
                                         {"OMP_NUM_THREADS", "2"},
                                         {"HOME", "/home"},
                                         {"AWS_SECRET_ACCESS_KEY", "abc"}});
  EXPECT_EQ(told, (Variables{{"COHAUL_SECRET", "(set)"},
                             {"COHAUL_SECRET_FILE", "/x/secret"},
                             {"COHAUL_TLS_KEY", "/x/key.pem"},
                             {"COHAUL_TOKEN", "(set)"},
                             {"SLURM_JWT", "(set)"},
                             {"SLURM_NTASKS", "4"},
                             {"OMP_NUM_THREADS", "2"}}));
}

}  // namespace
}  // namespace cohaul::job
