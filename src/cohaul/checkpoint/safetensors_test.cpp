#include "cohaul/checkpoint/safetensors.h"

#include "cohaul/checkpoint/file.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "cohaul/base/temporary_folder.h"
#include "cohaul/checkpoint/sha256.h"

namespace cohaul::checkpoint {
namespace {

namespace fs = std::filesystem;

class Safetensors : public testing::Test {
 protected:
  Safetensors() : own_(std::move(TemporaryFolder::make("cohaul-checkpoint")).value()), folder_(own_.path()) {}
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  std::size_t files() const { return std::distance(fs::directory_iterator(folder_), fs::directory_iterator()); }
  TemporaryFolder own_;
  fs::path folder_;
};

std::vector<std::byte> file_of(std::string_view header, std::string_view data) {
  std::vector<std::byte> out;
  Writer(out).put(std::uint64_t{header.size()}).raw(as_bytes(header)).raw(as_bytes(data));
  return out;
}

std::string refusal(std::string_view header, std::string_view data) {
  const auto bytes = file_of(header, data);
  const auto file = parse(bytes);
  EXPECT_FALSE(file.ok()) << header;
  EXPECT_TRUE(file.ok() || file.status().code() == Code::invalid);
  return file.status().message();
}

std::string text(ConstBytes b) { return {reinterpret_cast<const char*>(b.data()), b.size()}; }

TEST_F(Safetensors, ReadsWhatItWrites) {
  const std::vector<float> weight{1, 2, 3, 4, 5, 6};
  const std::vector<std::int64_t> steps{42};
  const std::vector<TensorView> tensors{
      {"layer.weight", TensorType::f32, {2, 3}, as_bytes(std::span(weight))},
      {"steps", TensorType::i64, {}, as_bytes(std::span(steps))},
      {"empty \"quoted\" ü", TensorType::f64, {0, 7}, {}},
  };
  ASSERT_TRUE(write(path("a.safetensors"), tensors, {{"format", "pt"}}).ok());
  EXPECT_EQ(files(), 1u);
  auto file = read(path("a.safetensors"));
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(file->metadata(), (Metadata{{"format", "pt"}}));
  EXPECT_EQ(file->tensors().size(), 3u);
  for (const TensorView& t : tensors) {
    const TensorView* back = file->find(t.name);
    ASSERT_NE(back, nullptr) << t.name;
    EXPECT_EQ(back->type, t.type);
    EXPECT_EQ(back->shape, t.shape);
    EXPECT_EQ(text(back->data), text(t.data));
    EXPECT_TRUE(t.data.empty() || reinterpret_cast<std::uintptr_t>(back->data.data()) % 8 == 0);
  }
  EXPECT_EQ(file->find("layer"), nullptr);
}

TEST_F(Safetensors, WritesTheFormatByteForByte) {
  const std::string_view two = "\x01\x02";
  ASSERT_TRUE(write(path("a"), std::vector<TensorView>{{"t", TensorType::u8, {2}, as_bytes(two)}}).ok());
  std::ifstream in(path("a"), std::ios::binary);
  const std::string all{std::istreambuf_iterator<char>(in), {}};
  const std::string header = R"({"t":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}   )";
  EXPECT_EQ(all, std::string("\x38\0\0\0\0\0\0\0", 8) + header + std::string(two));
}

TEST(SafetensorsParse, AcceptsWhatOthersWrite) {
  const auto bytes = file_of(
      R"( {"b":{"data_offsets":[1,3],"shape":[1],"dtype":"BF16"},"__metadata__":{"k":"v"},)"
      R"("a":{"dtype":"BOOL","shape":[],"data_offsets":[0,1]},"e":{"dtype":"F32","shape":[0],"data_offsets":[1,1]}} )",
      "xyz");
  const auto file = parse(bytes);
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_EQ(text(file->find("b")->data), "yz");
  EXPECT_EQ(file->metadata().at("k"), "v");
  EXPECT_TRUE(parse(file_of("{}", "")).ok());
}

TEST(SafetensorsParse, RefusesWhatIsWrongAndSaysWhat) {
  const auto has = [](const std::string& message, const char* what) {
    EXPECT_NE(message.find(what), std::string::npos) << message;
  };
  const auto tensor = [](const std::string& offsets, const std::string& shape = "[2]",
                         const std::string& dtype = "U8") {
    return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
  };
  const auto one = [&](auto... t) { return R"({"t":)" + tensor(t...) + "}"; };
  has(refusal(R"({"t":)" + tensor("[0,2]") + R"(,"u":)" + tensor("[1,3]") + "}", "abc"), "tensor u: its data overlaps");
  has(refusal(R"({"t":)" + tensor("[0,2]") + R"(,"u":)" + tensor("[3,5]") + "}", "abcde"),
      "tensor u: its data follows a gap");
  has(refusal(R"({"t":)" + tensor("[0,2]") + R"(,"t":)" + tensor("[2,4]") + "}", "abcd"), "the name t is there twice");
  has(refusal(one("[0,2]"), "abc"), "1 bytes at the end");
  has(refusal(one("[0,2]"), "a"), "outside");
  has(refusal(one("[2,0]"), "ab"), "outside");
  has(refusal(one("[0,2]", "[3]"), "ab"), "its shape needs 3 bytes, its data_offsets give 2");
  has(refusal(one("[0,2]", "[-2]"), "ab"), "whole number");
  has(refusal(one("[0,2]", "[2.0]"), "ab"), "whole number");
  has(refusal(one("[0,0]", "[4294967296,4294967296]"), ""), "more elements");
  has(refusal(one("[0,8]", "[4611686018427387905,2]", "F32"), "abcdefgh"), "more elements");
  has(refusal(one("[0,2]", "[18446744073709551615]"), "ab"), "too large");
  has(refusal(one("[0,2]", "[2]", "F7"), "ab"), "dtype F7");
  has(refusal(one("[0,2,2]"), "ab"), "list of two");
  has(refusal(one("[0,2]", "[[2]]"), "ab"), "nested");
  has(refusal(R"({"t":{"dtype":"U8","shape":[2]}})", "ab"), "data_offsets");
  has(refusal(R"({"t":3})", ""), "data_offsets");
  has(refusal(R"({"__metadata__":{"k":3}})", ""), "table of texts");
  has(refusal("[]", ""), "not a JSON object");
  has(refusal("{", ""), "not a JSON object");
  has(refusal(std::string(1'000'000, '['), ""), "nested");
  EXPECT_FALSE(parse({}).ok());
  EXPECT_FALSE(parse(ConstBytes(file_of("{}", "")).first(9)).ok());
  const std::uint64_t huge = ~std::uint64_t{0};
  EXPECT_FALSE(parse(as_bytes(std::span(&huge, 1))).ok());
}

RC_GTEST_PROP(SafetensorsParse, NeverReadsOutsideDamagedFiles,
              (std::vector<std::pair<std::uint8_t, std::uint8_t>> damage)) {
  auto bytes = file_of(
      R"({"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}})",
      "01234567abc");
  for (auto [place, value] : damage) bytes[place % bytes.size()] = static_cast<std::byte>(value);
  const auto file = parse(bytes);
  if (!file.ok()) return;
  for (const TensorView& t : file->tensors()) {
    RC_ASSERT(t.data.empty() || t.data.data() >= bytes.data());
    RC_ASSERT(t.data.empty() || t.data.data() + t.data.size() <= bytes.data() + bytes.size());
  }
}

TEST_F(Safetensors, ReadNamesTheFile) {
  EXPECT_EQ(read(path("none")).status().message(), path("none") + ": cannot be opened: No such file or directory");
  EXPECT_EQ(read(folder_.string()).status().message(), folder_.string() + ": is not a file");
  std::ofstream(path("empty")).flush();
  EXPECT_EQ(read(path("empty")).status().message(), path("empty") + ": not a safetensors file: shorter than 8 bytes");
}

TEST_F(Safetensors, WriteRefusesWhatItCouldNotReadBack) {
  const std::string_view two = "ab";
  const TensorView t{"t", TensorType::u8, {2}, as_bytes(two)};
  EXPECT_EQ(write(path("a"), std::vector{t, t}).message(),
            path("a") + ": tensor t: the name is reserved or there twice");
  TensorView other = t;
  other.shape = {3};
  EXPECT_EQ(write(path("a"), std::vector{other}).code(), Code::invalid);
  other = t;
  other.name = "\xff";
  EXPECT_EQ(write(path("a"), std::vector{other}).message(), path("a") + ": a name or metadata is not UTF-8");
  EXPECT_EQ(files(), 0u);
}

TEST_F(Safetensors, WritableIsKnownBeforehandAndNothingStays) {
  EXPECT_TRUE(check_writable(path("new")).ok());
  EXPECT_EQ(files(), 0u);
  EXPECT_EQ(check_writable(path("none/new")).message(),
            path("none/new") + ": cannot write into its folder: No such file or directory");
  EXPECT_EQ(check_writable(folder_.string()).message(),
            folder_.string() + ": is there and is not a file; choose another name");
  EXPECT_EQ(check_writable("").code(), Code::invalid);
  EXPECT_EQ(check_writable("/proc/new").code(), Code::invalid);
}

TEST_F(Safetensors, AFullDiskLeavesTheOldFile) {
  const std::string_view two = "ab";
  ASSERT_TRUE(write(path("a"), std::vector<TensorView>{{"t", TensorType::u8, {2}, as_bytes(two)}}).ok());
  const std::vector<std::byte> large(1 << 20);
  const std::vector<TensorView> tensors{{"t", TensorType::u8, {1 << 20}, large}};
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4096, 4096};  // a write past it fails as on a full disk
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const Status status = write(path("a"), tensors);
    ::_exit(status.message() == path("a") + ": cannot be written: File too large" ? 0 : 1);
  }
  int how = 0;
  ::waitpid(child, &how, 0);
  EXPECT_TRUE(WIFEXITED(how) && WEXITSTATUS(how) == 0);
  EXPECT_EQ(files(), 1u);
  EXPECT_EQ(text(read(path("a"))->find("t")->data), "ab");
}

TEST_F(Safetensors, AKilledWriterLeavesNoHalfFile) {
  const std::vector<std::byte> large(8 << 20, std::byte{1});
  const std::vector<TensorView> tensors{{"t", TensorType::u8, {8 << 20}, large}};
  bool cut = false;
  for (int k = 0; k < 20; ++k) {
    fs::remove(path("a"));
    const pid_t child = ::fork();
    if (child == 0) {
      if (!write(path("a"), tensors).ok()) ::_exit(1);
      ::_exit(0);
    }
    ::usleep(k * 500);
    ::kill(child, SIGKILL);
    int how = 0;
    ::waitpid(child, &how, 0);
    cut |= WIFSIGNALED(how);
    EXPECT_TRUE(!fs::exists(path("a")) || read(path("a")).ok());
  }
  EXPECT_TRUE(cut);
}

TEST(ParametersSha256, HashesDataSortedByName) {
  const std::string_view a = "ab", b = "c";
  const std::vector<TensorView> tensors{{"b", TensorType::u8, {1}, as_bytes(b)},
                                        {"a", TensorType::u8, {2}, as_bytes(a)}};
  EXPECT_EQ(parameters_sha256(tensors),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");  // of "abc"
  EXPECT_EQ(parameters_sha256({}), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  const std::vector<TensorView> bytewise{{"\xc3\xa4", TensorType::u8, {1}, as_bytes(b)},
                                         {"Z", TensorType::u8, {2}, as_bytes(a)}};
  EXPECT_EQ(parameters_sha256(bytewise), parameters_sha256(tensors));
}

}  // namespace
}  // namespace cohaul::checkpoint
