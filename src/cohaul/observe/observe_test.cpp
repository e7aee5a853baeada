#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cohaul/base/temporary_folder.h"
#include "cohaul/observe/event.h"
#include "cohaul/observe/format.h"
#include "cohaul/observe/gradient_lines.h"
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
  const Event some{"step",
                   {{"step", 300},
                    {"loss", 0.88},
                    {"samples_per_s", 31200.0},
                    {"staleness_mean", 1.8},
                    {"staleness_max", 3},
                    {"waiting", 0.12},
                    {"seconds_left", 1.5}}};
  EXPECT_EQ(step_line(some), "step 300  loss 0.88  31,200 samples/s  staleness 1.8 (max 3)  waiting 12 %  0:02 left");
  EXPECT_NE(step_line(some, true).find("\x1b[1m0.88\x1b[0m"), std::string::npos);
  EXPECT_EQ(step_line({"step", {{"step", 1000}, {"loss", 0.5}, {"samples_per_s", 10}, {"skipped", 0}}}),
            "step 1,000  loss 0.5  10 samples/s");
  EXPECT_EQ(step_line({"step",
                       {{"step", 2},
                        {"loss", 0.5},
                        {"samples_per_s", 10.0},
                        {"lr", 0.000125},
                        {"gradient_norm", 1.234},
                        {"skipped", 2}}}),
            "step 2  loss 0.5  lr 0.000125  norm 1.23  10 samples/s  skipped 2");
}

TEST(Progress, LinesOfOtherEvents) {
  using Lines = std::vector<std::string>;
  EXPECT_EQ(progress_lines({"evaluation", {{"step", 3}, {"loss", 0.5}, {"accuracy", 0.84}, {"samples", 100}}}),
            Lines{"test  loss 0.5  accuracy 0.84"});
  EXPECT_EQ(
      progress_lines({"resumed", {{"step", 3}, {"path", "p"}, {"passed_over", std::vector<std::string>{"q: torn"}}}}),
      (Lines{"passed over: q: torn", "goes on after step 3, from p"}));
  EXPECT_EQ(progress_lines({"checkpoint", {{"step", 3}, {"path", "p"}, {"error", "full"}}}),
            Lines{"checkpoint after step 3 not written: full"});
  EXPECT_EQ(progress_lines({"checkpoint", {{"step", 3}, {"path", "p"}}}), Lines{});
  EXPECT_EQ(progress_lines({"result", {{"loss", 0.5}}}), Lines{});
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

TEST(Event, ValuesByName) {
  const Event e{"evaluation", {{"step", 3}, {"loss", 0.5}, {"accuracy", 1}, {"name", "x"}, {"samples", 9}}};
  EXPECT_EQ(e.number("step"), 3);
  EXPECT_EQ(e.number("loss"), 0.5);
  EXPECT_FALSE(e.number("name") || e.number("nothing"));
  EXPECT_EQ(e.text("name"), "x");
  EXPECT_EQ(e.text("step"), "");
  EXPECT_EQ(e.find("nothing"), nullptr);
  EXPECT_EQ(evaluation_figures(e), (std::vector<std::pair<std::string, double>>{{"loss", 0.5}, {"accuracy", 1}}));
}

TEST(Gradients, ALineForEachLayerWithABarOfDecades) {
  const Event e{"gradients",
                {{"step", 1200},
                 {"norm", Figures{{"in.weight", 3e-12},
                                  {"in.bias", 4e-12},
                                  {"layers.0.linear.weight", 3e-5},
                                  {"layers.0.linear.bias", 0},
                                  {"layers.1.linear.weight", 0.01},
                                  {"dead.weight", 0},
                                  {"bad.weight", kNan},
                                  {"scale", 1}}}}};
  const std::vector<std::string> expected{"gradients of step 1,200",
                                          "  in               5e-12     ▊ vanishing: 5e-12 of the largest",
                                          "  layers.0.linear  3e-05     ███████▌ vanishing: 3e-05 of the largest",
                                          "  layers.1.linear  0.01      ██████████",
                                          "  dead             0         zero",
                                          "  bad              nan       not finite",
                                          "  scale            1         ████████████"};
  EXPECT_EQ(gradient_lines(e), expected);
  EXPECT_EQ(progress_lines(e), expected);
  const std::vector<std::string> styled = gradient_lines(e, true);
  for (std::size_t i = 0; i < styled.size(); ++i) {
    const bool red = i == 1 || i == 2 || i == 4 || i == 5;
    EXPECT_EQ(styled[i], red ? "\x1b[31m" + expected[i] + "\x1b[0m" : expected[i]);
  }
  EXPECT_TRUE(gradient_norms({"step", {{"norm", Figures{{"a", 1}}}}}).empty());
}

TEST(Gradients, ThatAreAllZeroAreSaidToBe) {
  EXPECT_EQ(gradient_lines({"gradients", {{"step", 1}, {"norm", Figures{{"a.weight", 0}}}}}).back(),
            "  a  0         zero");
}

TEST(Record, LinesAreJsonInTheEventsOrder) {
  EXPECT_EQ(to_json({"process", {{"role", "server"}, {"rank", 1}, {"pid", 7}, {"host", "h"}, {"log", nullptr}}}),
            R"({"record":"process","role":"server","rank":1,"pid":7,"host":"h","log":null})");
  EXPECT_EQ(to_json({"step", {{"step", 100}, {"loss", kNan}, {"samples_per_s", 5.5}, {"whole", true}}}),
            R"({"record":"step","step":100,"loss":null,"samples_per_s":5.5,"whole":true})");
  EXPECT_EQ(to_json({"resumed", {{"passed_over", std::vector<std::string>{"a", "b"}}}}),
            R"({"record":"resumed","passed_over":["a","b"]})");
  EXPECT_EQ(to_json({"gradients", {{"step", 1}, {"norm", Figures{{"a.b", 0.5}, {"step", kNan}}}}}),
            R"({"record":"gradients","step":1,"norm":{"a.b":0.5,"step":null}})");
  EXPECT_EQ(to_json({"start", {{"job", Json{R"({"train":{"batch":100}})"}}, {"other", Json{"{"}}}}),
            R"({"record":"start","job":{"train":{"batch":100}},"other":null})");
  EXPECT_EQ(to_json({"error", {{"message", "push \xff"}}}), "{\"record\":\"error\",\"message\":\"push \xef\xbf\xbd\"}");
}

Event step(std::int64_t number) { return {"step", {{"step", number}}}; }

TEST(Record, FileIsMadeAnewThenAppended) {
  const std::string path = std::filesystem::temp_directory_path() / ("cohaul_record_" + std::to_string(getpid()));
  std::ofstream(path) << "old\n";
  {
    auto record = Record::create(path);
    ASSERT_TRUE(record.ok());
    record->write(step(1));
    auto second = Record::append(path);
    ASSERT_TRUE(second.ok());
    second->write(step(2));
    record->write(step(3));
    EXPECT_TRUE(record->status().ok() && second->status().ok());
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
  nowhere->write(step(1));
  EXPECT_TRUE(nowhere->status().ok());
}

TEST(Sinks, OneThatIsFullDoesNotKeepTheOthersFromWriting) {
  auto folder = TemporaryFolder::make("cohaul-sinks");
  ASSERT_TRUE(folder.ok());
  Sinks sinks;
  for (const std::string& path : {std::string("/dev/full"), folder->file("record")}) {
    auto record = Record::append(path);
    ASSERT_TRUE(record.ok());
    sinks.add(std::make_unique<Record>(std::move(*record)));
  }
  EXPECT_TRUE(sinks.status().ok());
  sinks.write(step(1));
  sinks.write(step(2));
  EXPECT_EQ(sinks.status().code(), Code::internal);
  EXPECT_EQ(sinks.status().message(),
            "write --record /dev/full: No space left on device (free space there, or choose another place)");
  std::ifstream in(folder->file("record"));
  EXPECT_EQ(std::count(std::istreambuf_iterator<char>(in), {}, '\n'), 2);
}

}  // namespace
}  // namespace cohaul::observe
