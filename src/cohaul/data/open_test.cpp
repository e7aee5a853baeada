#include "cohaul/data/open.h"

#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <optional>

#include "cohaul/data/accuracy.h"
#include "cohaul/data/torch_data.h"
#include "cohaul/job/job.h"
#include "cohaul/job/meeting.h"
#include "cohaul/job/member.h"
#include "cohaul/transport/arena.h"
#include "cohaul/transport/channel.h"
#include "cohaul/transport/poller.h"

namespace cohaul::data {
namespace {

namespace fs = std::filesystem;

std::string idx(std::vector<std::uint32_t> sizes, std::string values, int type = 8) {
  std::string out{'\0', '\0', static_cast<char>(type), static_cast<char>(sizes.size())};
  for (std::uint32_t n : sizes) {
    for (int shift : {24, 16, 8, 0}) out += static_cast<char>(n >> shift);
  }
  return out + values;
}

/// A folder with 3 training and 2 test images of 2×2 pixels, which the test then damages.
class Folder : public testing::Test {
 protected:
  void SetUp() override {
    path_ = fs::temp_directory_path() / ("cohaul_idx_" + std::to_string(getpid()));
    fs::create_directories(path_);
    write(kTrain, idx({3, 2, 2}, {'\x00', '\x01', '\x02', '\x03', '\x7f', '\x7f', '\x7f', '\x7f', '\xff', '\xfe',
                                  '\xfd', '\xfc'}));
    write(kTrainLabels, idx({3}, {'\x09', '\x00', '\x05'}));
    write("t10k-images-idx3-ubyte", idx({2, 2, 2}, "abcdefgh"));
    write("t10k-labels-idx1-ubyte", idx({2}, {'\x01', '\x02'}));
  }
  void TearDown() override { fs::remove_all(path_); }

  void write(const std::string& name, const std::string& bytes) {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
  }
  void gzip(const std::string& name, const std::string& bytes, std::size_t keep = 1 << 20) {
    fs::remove(path_ / name);
    fs::path file = path_ / (name + ".gz");
    gzFile gz = gzopen(file.c_str(), "wb");
    gzwrite(gz, bytes.data(), static_cast<unsigned>(bytes.size()));
    gzclose(gz);
    if (keep < fs::file_size(file)) fs::resize_file(file, keep);
  }
  std::string refusal(const std::string& name = "idx") {
    auto loaded = load(name, path_.string());
    if (loaded.ok()) return "loaded";
    EXPECT_EQ(loaded.status().code(), Code::invalid);
    EXPECT_EQ(check(name, path_.string()).status().message(), loaded.status().message());
    return loaded.status().message();
  }
  void expect_refused(const std::string& file, const std::string& reason) {
    std::string message = refusal();
    EXPECT_NE(message.find((path_ / file).string()), std::string::npos) << message;
    EXPECT_NE(message.find(reason), std::string::npos) << message;
  }

  static constexpr const char* kTrain = "train-images-idx3-ubyte";
  static constexpr const char* kTrainLabels = "train-labels-idx1-ubyte";
  fs::path path_;
};

TEST_F(Folder, ReadsPlainFiles) {
  auto sets = load("idx", path_.string());
  ASSERT_TRUE(sets.ok()) << sets.status().message();
  EXPECT_EQ(sets->train.size(), 3);
  EXPECT_EQ(sets->test.size(), 2);
  std::vector<std::int64_t> rows{2, 0, 2};
  Batch b = sets->train.get(rows);
  ASSERT_EQ(b.input.sizes(), (std::vector<std::int64_t>{3, 1, 2, 2}));
  const float* x = b.input.const_data_ptr<float>();
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(x) % 64, 0u);
  EXPECT_EQ(x[0], 1.0f);
  EXPECT_EQ(x[5], 1.0f / 255.0f);
  EXPECT_EQ(x[11], 252.0f / 255.0f);
  EXPECT_EQ(b.target[0].item<std::int64_t>(), 5);
  EXPECT_EQ(b.target[1].item<std::int64_t>(), 9);
  std::vector<std::int64_t> bad{3};
  EXPECT_THROW(sets->train.get(bad), std::out_of_range);
}

TEST_F(Folder, ReadsGzippedFiles) {
  gzip(kTrain, idx({3, 2, 2}, "abcdefghijkl"));
  gzip(kTrainLabels, idx({3}, {'\x01', '\x02', '\x03'}));
  auto sets = load("idx", path_.string());
  ASSERT_TRUE(sets.ok()) << sets.status().message();
  std::vector<std::int64_t> rows{1};
  EXPECT_EQ(sets->train.get(rows).input.const_data_ptr<float>()[0], 'e' / 255.0f);
}

TEST_F(Folder, ScalesEveryByteAsDivisionDoes) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  write(kTrain, idx({1, 15, 17}, all.substr(1)));
  write(kTrainLabels, idx({1}, {'\x00'}));
  write("t10k-images-idx3-ubyte", idx({1, 15, 17}, all.substr(0, 255)));
  write("t10k-labels-idx1-ubyte", idx({1}, {'\x00'}));
  auto sets = load("idx", path_.string());
  ASSERT_TRUE(sets.ok()) << sets.status().message();
  std::vector<std::int64_t> first{0};
  Batch high = sets->train.get(first), low = sets->test.get(first);
  for (int i = 0; i < 255; ++i) {
    EXPECT_EQ(high.input.const_data_ptr<float>()[i], static_cast<float>(i + 1) / 255.0f);
    EXPECT_EQ(low.input.const_data_ptr<float>()[i], static_cast<float>(i) / 255.0f);
  }
}

TEST_F(Folder, RefusesBrokenFilesByName) {
  std::string good = idx({3, 2, 2}, "abcdefghijkl");
  write(kTrain, "PK\x03\x04 no idx at all");
  expect_refused(kTrain, "is no IDX file: it starts with the bytes 80 75");
  write(kTrain, "");
  expect_refused(kTrain, "is cut short: 0 bytes");
  write(kTrain, good.substr(0, 9));
  expect_refused(kTrain, "is cut short: 9 bytes, and the header alone has 16");
  write(kTrain, idx({3, 2, 2}, "abcdefghijkl", 0x0d));
  expect_refused(kTrain, "IDX type 13");
  write(kTrain, idx({3}, "abc"));
  expect_refused(kTrain, "has 1 dimensions, and IDX images have 3");
  write(kTrain, good.substr(0, good.size() - 1));
  expect_refused(kTrain, "is cut short: 27 bytes, and its 3 images need 28");
  write(kTrain, good + "x");
  expect_refused(kTrain, "is too long: 29 bytes");
  write(kTrain, idx({0, 2, 2}, ""));
  expect_refused(kTrain, "holds 0 images");
  write(kTrain, idx({0xffffffff, 0xffffffff, 0xffffffff}, ""));
  expect_refused(kTrain, "it is broken");
  fs::remove(path_ / kTrain);
  EXPECT_NE(refusal().find("has neither train-images-idx3-ubyte nor train-images-idx3-ubyte.gz"), std::string::npos);
}

TEST_F(Folder, RefusesBrokenGzip) {
  std::string noise;
  for (unsigned i = 0; i < 3000 * 4; ++i) noise += static_cast<char>(i * i * 7919 >> 5);
  gzip(kTrain, idx({3000, 2, 2}, noise), 2000);
  expect_refused(std::string(kTrain) + ".gz", "cannot be unpacked: ");
  gzip(kTrain, idx({3, 2, 2}, "abcdefghijk"));
  expect_refused(std::string(kTrain) + ".gz", "is cut short: 27 bytes");
}

TEST_F(Folder, FindsABrokenMiddleOfAGzippedFile) {
  gzip(kTrain, idx({3, 2, 2}, "abcdefghijkl"));
  std::fstream file(path_ / (std::string(kTrain) + ".gz"), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-8, std::ios::end);
  file.put('\x55');  // a byte of the checksum
  file.close();
  auto loaded = load("idx", path_.string());
  ASSERT_FALSE(loaded.ok());
  EXPECT_NE(loaded.status().message().find("cannot be unpacked"), std::string::npos) << loaded.status().message();
}

TEST_F(Folder, RefusesLabelsThatDoNotFit) {
  write(kTrainLabels, idx({2}, {'\x01', '\x02'}));
  expect_refused(kTrainLabels, "holds 2 labels, and " + (path_ / kTrain).string() + " 3 images");
  write(kTrainLabels, idx({4}, {'\x01', '\x02', '\x03', '\x04'}));
  expect_refused(kTrainLabels, "holds 4 labels");
  write(kTrainLabels, idx({3}, {'\x01', '\x0a', '\x03'}));
  EXPECT_NE(refusal("mnist").find("label 10 at position 1"), std::string::npos) << refusal("mnist");
}

TEST_F(Folder, HasAsManyClassesAsItsLabelsTellApart) {
  EXPECT_EQ(check("idx", path_.string())->classes, 10);
  EXPECT_EQ(load("idx", path_.string())->classes, 10);
  write("t10k-labels-idx1-ubyte", idx({2}, {'\x01', '\x3d'}));
  EXPECT_EQ(check("idx", path_.string())->classes, 62);
  EXPECT_EQ(load("idx", path_.string())->classes, 62);
}

TEST_F(Folder, OfSeveralSetsIsToldByWhatIsInFrontOfTheirNames) {
  for (const char* what : {"images-idx3-ubyte", "labels-idx1-ubyte"}) {
    fs::rename(path_ / (std::string("train-") + what), path_ / (std::string("emnist-letters-train-") + what));
    fs::rename(path_ / (std::string("t10k-") + what), path_ / (std::string("emnist-letters-test-") + what));
  }
  const auto sets = load("idx", (path_ / "emnist-letters").string());
  ASSERT_TRUE(sets.ok()) << sets.status().message();
  EXPECT_EQ(sets->train.size(), 3);
  EXPECT_EQ(sets->test.size(), 2);
  EXPECT_FALSE(load("idx", path_.string()).ok());
}

TEST_F(Folder, RefusesTestImagesOfAnotherSize) {
  write("t10k-images-idx3-ubyte", idx({2, 1, 4}, "abcdefgh"));
  expect_refused("t10k-images-idx3-ubyte", "its images are 1×4");
}

TEST(Open, RefusesUnknownNamesAndFolders) {
  EXPECT_NE(check("fashon").status().message().find("no such data set; choose one of fashion-mnist, mnist, idx"),
            std::string::npos);
  EXPECT_NE(check("mnist").status().message().find("set data.path"), std::string::npos);
  EXPECT_NE(check("mnist", "/no/such").status().message().find("/no/such: no such folder"), std::string::npos);
}

TEST(Open, FashionMnist) {
  if (!fs::exists("/usr/share/datasets/fashion-mnist")) GTEST_SKIP() << "dataset-fashion-mnist is not installed";
  auto sets = load("fashion-mnist");
  ASSERT_TRUE(sets.ok()) << sets.status().message();
  EXPECT_EQ(sets->train.size(), 60000);
  EXPECT_EQ(sets->test.size(), 10000);
  std::vector<std::int64_t> first{0, 59999};
  Batch b = sets->train.get(first);
  EXPECT_EQ(b.input.sizes(), (std::vector<std::int64_t>{2, 1, 28, 28}));
  EXPECT_EQ(b.target[0].item<std::int64_t>(), 9);
}

/// A worker that is not its host's leader if `filled` holds what the leader made, else the leader.
class FakeJob : public job::Job {
 public:
  explicit FakeJob(transport::Arena* filled) : filled_(filled) {}
  Result<transport::Arena> share_on_host(const std::string& name, std::size_t bytes, transport::Access access,
                                         const std::function<Status(transport::Arena&)>& fill, Time) override {
    EXPECT_EQ(access, transport::Access::read);
    if (filled_->fd() < 0) {
      COHAUL_ASSIGN(*filled_, transport::Arena::create("test", bytes));
      COHAUL_TRY(fill(*filled_));
      name_ = name;
    }
    return transport::Arena::map(filled_->id(), dup(filled_->fd()), access);
  }
  transport::Role role() const override { return transport::Role::worker; }
  int rank() const override { return 0; }
  int world() const override { return 2; }
  int servers() const override { return 0; }
  const job::JoinOptions& options() const override { return options_; }
  const std::vector<job::Member>& members() const override { return members_; }
  int workers_on_host() const override { return 2; }
  int index_on_host() const override { return 0; }
  int processes_on_host() const override { return 2; }
  Status set(const std::string&, const std::string&) override { return {}; }
  Result<std::string> get(const std::string&, Time) override { return unsupported("no store"); }
  Status barrier(const std::string&, int, Time) override { return {}; }
  Status meet(const job::Meeting&, Time) override { return {}; }
  void attend(const job::Meeting&) override {}
  void shared_with_all(const transport::Arena&) override {}
  Status absent(const std::string&, std::int64_t, std::int64_t) const override { return {}; }
  transport::Identity identity(const std::string&, std::uint64_t) const override { return {}; }
  Status health() const override { return {}; }
  bool set_waiting(bool) override { return false; }
  Duration waited() const override { return 0; }
  Status overdue(Duration) override { return {}; }
  void wake_on_loss(transport::Poller*) override {}
  void forget(transport::Poller*) override {}
  void report_failure(const Status&) override {}
  Status close() override { return {}; }

 private:
  transport::Arena* filled_;
  std::string name_;
  job::JoinOptions options_;
  std::vector<job::Member> members_;
};

TEST_F(Folder, IsUnpackedOnceAHost) {
  transport::Arena arena;
  FakeJob leader(&arena), other(&arena);
  auto a = load("idx", path_.string(), &leader);
  ASSERT_TRUE(a.ok()) << a.status().message();
  arena.bytes()[1] = std::byte{77};  // seen by every worker that reads the leader's copy
  auto b = load("idx", path_.string(), &other);
  ASSERT_TRUE(b.ok()) << b.status().message();
  std::vector<std::int64_t> first{0};
  EXPECT_EQ(a->train.get(first).input.const_data_ptr<float>()[1], 77 / 255.0f);
  EXPECT_EQ(b->train.get(first).input.const_data_ptr<float>()[1], 77 / 255.0f);
}

struct Example {
  at::Tensor data, target;
};
struct MapStyle {
  std::optional<std::size_t> size() const { return 4; }
  std::vector<Example> get_batch(const std::vector<std::size_t>& rows) {
    std::vector<Example> out;
    for (std::size_t r : rows)
      out.push_back({at::full({2}, static_cast<double>(r)), at::full({}, static_cast<std::int64_t>(r), at::kLong)});
    return out;
  }
};

TEST(TorchData, StacksExamples) {
  TorchData<MapStyle> set(MapStyle{});
  std::vector<std::int64_t> rows{3, 1};
  Batch b = set.get(rows);
  EXPECT_EQ(b.input.sizes(), (std::vector<std::int64_t>{2, 2}));
  EXPECT_EQ(b.input[0][1].item<float>(), 3.0f);
  EXPECT_EQ(b.target[1].item<std::int64_t>(), 1);
  std::vector<std::int64_t> bad{4};
  EXPECT_THROW(set.get(bad), std::out_of_range);
}

TEST(Accuracy, CountsRows) {
  struct Net {
    at::Tensor forward(const at::Tensor& x) { return x; }
  };
  Batch b{at::eye(3), at::full({3}, 1, at::kLong)};
  EXPECT_EQ(accuracy(std::make_shared<Net>())(b), 1.0);
}

}  // namespace
}  // namespace cohaul::data
