#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cohaul/observe/format.h"
#include "cohaul/observe/progress.h"
#include "cohaul/observe/record.h"
#include "cohaul/observe/table.h"

namespace cohaul::observe {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(Format, Numbers) {
  EXPECT_EQ(with_commas(0), "0");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(with_commas(1000), "1,000");
  EXPECT_EQ(with_commas(-1234567), "-1,234,567");
  EXPECT_EQ(with_commas(-123), "-123");
  EXPECT_EQ(significant(0.880012), "0.88");
  EXPECT_EQ(significant(kNan), "-");
  EXPECT_EQ(fixed(0.88, 4), "0.8800");
  EXPECT_EQ(rate(31234), "31,200");
  EXPECT_EQ(rate(999.6), "1,000");
  EXPECT_EQ(rate(412.4), "412");
  EXPECT_EQ(rate(3.14159), "3.14");
  EXPECT_EQ(rate(kNan), "-");
  EXPECT_EQ(percent(0.123), "12 %");
  EXPECT_EQ(minutes(1.2), "0:02");
  EXPECT_EQ(minutes(760), "12:40");
  EXPECT_EQ(minutes(3723), "1:02:03");
  EXPECT_EQ(minutes(-1), "0:00");
}

TEST(Progress, Line) {
  Progress p{.step = 300,
             .loss = 0.88,
             .samples_per_s = 31200,
             .staleness = Progress::Staleness{1.8, 3},
             .waiting = 0.12,
             .seconds_left = 1.5};
  EXPECT_EQ(to_line(p), "step 300  loss 0.88  31,200 samples/s  staleness 1.8 (max 3)  waiting 12 %  0:02 left");
  EXPECT_EQ(to_line({.step = 1000, .loss = 0.5, .samples_per_s = 10}), "step 1,000  loss 0.5  10 samples/s");
  EXPECT_EQ(
      to_line({.step = 2, .loss = 0.5, .samples_per_s = 10, .lr = 0.000125, .gradient_norm = 1.234, .skipped = 2}),
      "step 2  loss 0.5  lr 0.000125  norm 1.23  10 samples/s  skipped 2");
  EXPECT_NE(to_line(p, true).find("\x1b[1m0.88\x1b[0m"), std::string::npos);
}

TEST(Table, NumbersStandRight) {
  Table t({"mode", "loss", "samples/s"});
  t.row({"one process", "0.5", "31,200"});
  t.row({"é", "-", "9"});
  t.row({"short"});
  EXPECT_EQ(t.text(),
            "mode         loss  samples/s\n"
            "-----------  ----  ---------\n"
            "one process   0.5     31,200\n"
            "é               -          9\n"
            "short\n");
}

TEST(Table, NumberedTextIsText) {
  Table t({"mode", "x"});
  t.row({"1. one", "1.9e-07"});
  t.row({"2. all-reduce", "0"});
  EXPECT_EQ(t.text(),
            "mode                 x\n"
            "-------------  -------\n"
            "1. one         1.9e-07\n"
            "2. all-reduce        0\n");
}

TEST(Record, LinesAreJson) {
  using nlohmann::json;
  json start = json::parse(to_json(StartRecord{
      .cohaul = "0.1.0", .libtorch = "2.15.0", .instruction_set = "avx2", .job = R"({"train":{"batch":100}})"}));
  EXPECT_EQ(start["record"], "start");
  EXPECT_EQ(start["job"]["train"]["batch"], 100);
  EXPECT_TRUE(to_json(StartRecord{}).starts_with(R"({"record":"start",)"));

  json process = json::parse(to_json(ProcessRecord{.role = "server", .rank = 1, .pid = 7, .host = "h", .log = ""}));
  EXPECT_EQ(process, json::parse(R"({"record":"process","role":"server","rank":1,"pid":7,"host":"h","log":null})"));

  json step = json::parse(to_json(StepRecord{.step = 100, .loss = kNan, .samples_per_s = 5.5}));
  EXPECT_EQ(step, json::parse(R"({"record":"step","step":100,"loss":null,"samples_per_s":5.5})"));
  EXPECT_FALSE(step.contains("lr") || step.contains("gradient_norm") || step.contains("skipped"));
  step = json::parse(to_json(StepRecord{.step = 1, .lr = 0.25, .gradient_norm = 2, .skipped = 3}));
  EXPECT_EQ(step["lr"], 0.25);
  EXPECT_EQ(step["gradient_norm"], 2);
  EXPECT_EQ(step["skipped"], 3);
  step = json::parse(to_json(StepRecord{.step = 1, .asynchrony = Asynchrony{1.5, 3, 2}}));
  EXPECT_EQ(step["staleness_mean"], 1.5);
  EXPECT_EQ(step["staleness_max"], 3);
  EXPECT_EQ(step["gap_max"], 2);

  json result = json::parse(
      to_json(ResultRecord{.steps = 10, .loss = 0.5, .metrics = {{"accuracy", 0.9}}, .parameters_sha256 = "ab"}));
  for (const char* key :
       {"steps", "loss", "accuracy", "step_ms_median", "samples_per_s", "seconds", "parameters_sha256"})
    EXPECT_TRUE(result.contains(key)) << key;
  EXPECT_FALSE(result.contains("gap_max"));

  json error = json::parse(
      to_json(ErrorRecord{.exit = 3, .role = "worker", .rank = 2, .operation = "push \xff", .message = "gone"}));
  EXPECT_EQ(error["exit"], 3);
  EXPECT_EQ(error["rank"], 2);
  EXPECT_TRUE(json::parse(to_json(ErrorRecord{}))["rank"].is_null());
}

TEST(Record, FileIsMadeAnewThenAppended) {
  const std::string path = std::filesystem::temp_directory_path() / ("cohaul_record_" + std::to_string(getpid()));
  std::ofstream(path) << "old\n";
  {
    auto record = Record::create(path);
    ASSERT_TRUE(record.ok());
    ASSERT_TRUE(record->write(StepRecord{.step = 1}).ok());
    auto second = Record::append(path);
    ASSERT_TRUE(second.ok());
    ASSERT_TRUE(second->write(StepRecord{.step = 2}).ok());
    ASSERT_TRUE(record->write(StepRecord{.step = 3}).ok());
  }
  std::ifstream in(path);
  int step = 0;
  for (std::string line; std::getline(in, line);) EXPECT_EQ(nlohmann::json::parse(line)["step"], ++step);
  EXPECT_EQ(step, 3);
  std::filesystem::remove(path);
}

TEST(Record, UnwritableIsTheUsersMistake) {
  auto record = Record::create("/no/such/folder/r.jsonl");
  ASSERT_FALSE(record.ok());
  EXPECT_EQ(record.status().code(), Code::invalid);
  EXPECT_TRUE(record.status().message().starts_with(
      "--record /no/such/folder/r.jsonl: cannot be written: No such file or directory"));
  EXPECT_FALSE(Record::create("/").ok());
  auto nowhere = Record::create("");
  ASSERT_TRUE(nowhere.ok());
  EXPECT_TRUE(nowhere->write(StepRecord{}).ok());
  auto full = Record::append("/dev/full");
  ASSERT_TRUE(full.ok());
  EXPECT_EQ(full->write(StepRecord{}).code(), Code::internal);
}

}  // namespace
}  // namespace cohaul::observe
