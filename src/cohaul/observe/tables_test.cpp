// Figures as CSV and as TensorBoard's event files.

#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>

#include <gtest/gtest.h>

#include "cohaul/base/temporary_folder.h"
#include "cohaul/observe/csv.h"
#include "cohaul/observe/event_file.h"
#include "cohaul/observe/tensorboard.h"

namespace cohaul::observe {
namespace {

std::string content(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes)
    for (const int nibble : {(c >> 4) & 15, c & 15}) out += "0123456789abcdef"[nibble];
  return out;
}

class StoppedClock final : public Clock {
 public:
  Time now() const override { return 1'500'000'000 * kSecond + kSecond / 2; }
};

TEST(Csv, CellsAreQuotedWhereTheyMust) {
  EXPECT_EQ(csv_cell("loss"), "loss");
  EXPECT_EQ(csv_cell(""), "");
  EXPECT_EQ(csv_cell("a,b"), "\"a,b\"");
  EXPECT_EQ(csv_cell("the \"best\""), "\"the \"\"best\"\"\"");
  EXPECT_EQ(csv_cell("two\nlines"), "\"two\nlines\"");
}

TEST(Csv, ARowForEachStepAndEvaluation) {
  auto folder = TemporaryFolder::make("cohaul-csv");
  ASSERT_TRUE(folder.ok());
  std::ofstream(folder->file("t.csv")) << "old\n";
  auto csv = Csv::create(folder->file("t.csv"), {"accuracy", "top, 5"});
  ASSERT_TRUE(csv.ok());
  csv->write({"start", {{"cohaul", "0.1.0"}}});
  csv->write({"step", {{"step", 100}, {"loss", 0.1}, {"samples_per_s", 1e6}, {"lr", 1e-9}, {"skipped", 0}}});
  csv->write({"step", {{"step", 200}, {"loss", std::numeric_limits<double>::quiet_NaN()}, {"gap_max", 3}}});
  csv->write({"evaluation", {{"step", 200}, {"loss", 0.25}, {"top, 5", 1}, {"f1", 0.5}, {"samples", 10}}});
  csv->write({"result", {{"loss", 0.25}}});
  EXPECT_TRUE(csv->status().ok());
  EXPECT_EQ(content(folder->file("t.csv")),
            "step,loss,lr,gradient_norm,skipped,samples_per_s,waiting,staleness_mean,staleness_max,gap_max,"
            "evaluation_loss,evaluation_accuracy,\"evaluation_top, 5\"\n"
            "100,0.1,1e-09,,0,1e+06,,,,,,,\n"
            "200,nan,,,,,,,,3,,,\n"
            "200,,,,,,,,,,0.25,,1\n");
  EXPECT_EQ(Csv::create("/no/such/folder/t.csv").status().code(), Code::invalid);
}

TEST(Csv, ARowForEachWatchedStep) {
  auto folder = TemporaryFolder::make("cohaul-csv");
  ASSERT_TRUE(folder.ok());
  const Event gradients{"gradients", {{"step", 1}, {"norm", Figures{{"b", 0.5}, {"other", 3}}}}};
  Csv::create(folder->file("t.csv"), {}, {"a", "b"})->write(gradients);
  EXPECT_TRUE(content(folder->file("t.csv")).ends_with(",gradient_a,gradient_b\n1,,,,,,,,,,,,0.5\n"))
      << content(folder->file("t.csv"));
  Csv::create(folder->file("none.csv"))->write(gradients);
  EXPECT_TRUE(content(folder->file("none.csv")).ends_with(",evaluation_loss\n"));
}

TEST(EventFile, ChecksumsOfTheStandard) {
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);  // RFC 3720, B.4
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
}

TEST(EventFile, BytesOfItsMessages) {
  EXPECT_EQ(hex(file_version_event(1.5)),
            "09000000000000f83f"
            "1a0d" +
                hex("brain.Event:2"));
  EXPECT_EQ(hex(scalars_event(0, 300, {{"a", 0.5}, {"bc", -2}})),
            "090000000000000000"
            "10ac02"
            "2a15"
            "0a08"
            "0a0161"
            "150000003f"
            "0a09"
            "0a026263"
            "15000000c0");
  EXPECT_EQ(hex(restart_event(0, 301)),
            "090000000000000000"
            "10ad02"
            "3a02"
            "0801");
  // The length and its masked checksum, the data and its own.
  const std::string record = event_record("123456789");
  EXPECT_EQ(hex(record.substr(0, 8)), "0900000000000000");
  EXPECT_EQ(record.substr(12, 9), "123456789");
  EXPECT_EQ(hex(record.substr(21)), "e5b08ac7");
  EXPECT_EQ(record.size(), 25u);
}

TEST(TensorBoard, FilesAreNamedAndFilledAtOnce) {
  auto folder = TemporaryFolder::make("cohaul-tensorboard");
  ASSERT_TRUE(folder.ok());
  const StoppedClock clock;
  auto board = TensorBoard::create(folder->file("runs/1"), "host", 42, clock);
  ASSERT_TRUE(board.ok()) << board.status().message();
  const std::string path = folder->file("runs/1/events.out.tfevents.1500000000.host.42");
  constexpr double kNow = 1'500'000'000.5;
  std::string expected = event_record(file_version_event(kNow));
  EXPECT_EQ(content(path), expected);
  board->write({"start", {{"cohaul", "0.1.0"}}});
  board->write({"resumed", {{"step", 50}, {"path", "p"}}});
  board->write({"step", {{"step", 100}, {"loss", 0.5}, {"samples_per_s", 8.0}, {"seconds_left", 1.0}}});
  expected += event_record(restart_event(kNow, 51));
  expected += event_record(scalars_event(kNow, 100, {{"train/loss", 0.5}, {"train/samples_per_s", 8}}));
  EXPECT_EQ(content(path), expected);
  board->write({"evaluation", {{"step", 100}, {"loss", 0.25}, {"accuracy", 1}, {"samples", 10}}});
  expected += event_record(scalars_event(kNow, 100, {{"evaluation/loss", 0.25}, {"evaluation/accuracy", 1}}));
  EXPECT_EQ(content(path), expected);
  board->write({"gradients", {{"step", 200}, {"norm", Figures{{"fc.weight", 0.5}}}}});
  expected += event_record(scalars_event(kNow, 200, {{"gradients/fc.weight", 0.5}}));
  EXPECT_EQ(content(path), expected);
  EXPECT_TRUE(board->status().ok());
}

TEST(TensorBoard, AFolderThatCannotBeIsTheUsersMistake) {
  const auto none = TensorBoard::create("/dev/null/runs", "host", 1);
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.status().code(), Code::invalid);
  EXPECT_TRUE(none.status().message().starts_with("--tensorboard /dev/null/runs: ")) << none.status().message();
}

}  // namespace
}  // namespace cohaul::observe
