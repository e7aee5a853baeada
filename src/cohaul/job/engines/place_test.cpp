// Engines on the variables that the real ones set (recorded/), and on what is missing or wrong in them.

#include "cohaul/job/engines/place.h"

#include <gtest/gtest.h>

#include <fstream>

#include "cohaul/job/engines/read.h"
#include "cohaul/job/job_id.h"

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
  std::string meet_at;  // under torchrun the port after its store's
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
    if (task == 0) run = place.run;
    EXPECT_EQ(place.run, run);
    EXPECT_EQ(run.empty(), r.directory == Directory::pmi);  // MPICH says it when asked
  }
}

INSTANTIATE_TEST_SUITE_P(
    Engines, Recorded,
    testing::Values(Recording{"open_mpi_1x2", "Open MPI", 2, 2, "127.0.0.1", Directory::none},
                    Recording{"open_mpi_2x2", "Open MPI", 4, 2, "", Directory::pmix},
                    Recording{"mpich_1x2", "MPICH", 2, 2, "127.0.0.1", Directory::pmi},
                    Recording{"mpich_2x2", "MPICH", 4, 2, "", Directory::pmi},
                    Recording{"slurm_1x2", "Slurm", 2, 2, "127.0.0.1", Directory::none},
                    Recording{"slurm_2x2", "Slurm", 4, 2, "node0", Directory::none},
                    Recording{"slurm_batch_step", "Slurm", 4, 2, "node0", Directory::none},
                    Recording{"torchrun_1x2", "torchrun", 2, 2, "localhost:41268", Directory::none},
                    Recording{"torchrun_2x2", "torchrun", 4, 2, "localhost:33346", Directory::none}),
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
    return find_place(v).value()->run;
  };
  const Variables slurm = recorded("slurm_2x2.1"), torchrun = recorded("torchrun_2x2.1");
  const std::string first = find_place(slurm).value()->run;
  EXPECT_EQ(run(slurm, "SLURM_RESTART_COUNT", "0"), first);
  EXPECT_NE(run(slurm, "SLURM_RESTART_COUNT", "1"), first);
  EXPECT_NE(run(slurm, "SLURM_STEP_ID", "1"), first);
  EXPECT_NE(run(slurm, "SLURM_JOB_ID", "99"), first);
  EXPECT_NE(run(torchrun, "TORCHELASTIC_RESTART_COUNT", "1"), find_place(torchrun).value()->run);
  EXPECT_NE(ports_of(first), ports_of(run(slurm, "SLURM_STEP_ID", "1")));
  EXPECT_EQ(ports_of(first), ports_of(first));
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
  EXPECT_NE(mistake(recorded("torchrun_1x2.1"), {{"MASTER_PORT", "65535"}}).find("MASTER_PORT"), std::string::npos);
}

}  // namespace
}  // namespace cohaul::job
