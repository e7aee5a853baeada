// A folder of checkpoints: what was written is read by owners of other pieces, and what was changed since is refused by name.

#include "cohaul/checkpoint/folder.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "cohaul/base/hash.h"
#include "cohaul/base/testing/refused_calls.h"
#include "cohaul/checkpoint/export.h"
#include "cohaul/checkpoint/state_file.h"

namespace cohaul::checkpoint {
namespace {

namespace fs = std::filesystem;
using update::Owner;

update::Layout layout() {
  return std::move(*update::Layout::of({{"large", {130, 70}},
                                        {"small", {7}, DType::float32, true, 1},
                                        {"empty", {0, 3}},
                                        {"double", {2000}, DType::float64}}));
}

update::OptimizerSettings settings() {
  update::OptimizerSettings s(update::RuleSettings{.kind = update::RuleSettings::Kind::adam, .lr = 0.1});
  s.groups.push_back({.kind = update::RuleSettings::Kind::adam, .lr = 0.1, .amsgrad = true});
  return s;
}

/// Owners of all partitions, dealt in turn, with a flat area of their own.
struct Owners {
  Owners(const update::Layout& l, int count) : layout(l), flat(l.bytes()) {
    for (int k = 0; k < count; ++k) {
      std::vector<PartitionId> mine;
      for (std::size_t p = static_cast<std::size_t>(k); p < l.partitions().size(); p += static_cast<std::size_t>(count))
        mine.emplace_back(static_cast<std::int32_t>(p));
      owners.emplace_back(l, settings(), update::GradientPolicy(), mine);
    }
  }
  std::vector<update::StatePiece> pieces(std::size_t owner) {
    return owners[owner].pieces(
        [&](PartitionId id) { return flat.data() + layout.partitions()[static_cast<std::size_t>(id.value)].offset; });
  }
  /// Something else in each element and state.
  void fill() {
    unsigned next = 1;
    const auto draw = [&](Bytes to) {
      for (std::byte& b : to) b = static_cast<std::byte>(next = next * 1103515245 + 12345);
    };
    for (std::size_t k = 0; k < owners.size(); ++k)
      for (update::StatePiece& piece : pieces(k)) {
        draw(piece.values);
        for (int s = 0; s < piece.states_used; ++s) draw(piece.states[static_cast<std::size_t>(s)]);
        *piece.count = 7 + piece.parameter;
      }
  }
  /// Returns all that they keep, by parameter.
  std::vector<std::byte> content() {
    std::vector<std::pair<std::pair<std::int32_t, std::uint64_t>, update::StatePiece>> all;
    for (std::size_t k = 0; k < owners.size(); ++k)
      for (const update::StatePiece& p : pieces(k)) all.push_back({{p.parameter, p.first}, p});
    std::ranges::sort(all, {}, [](const auto& item) { return item.first; });
    std::vector<std::byte> out;
    for (const auto& [place, p] : all) {
      out.insert(out.end(), p.values.begin(), p.values.end());
      for (int s = 0; s < p.states_used; ++s)
        out.insert(out.end(), p.states[static_cast<std::size_t>(s)].begin(),
                   p.states[static_cast<std::size_t>(s)].end());
      out.push_back(static_cast<std::byte>(*p.count));
    }
    return out;
  }
  const update::Layout& layout;
  std::vector<std::byte> flat;
  std::vector<Owner> owners;
};

class Folder : public testing::Test {
 protected:
  Folder() : path_(fs::temp_directory_path() / ("cohaul-folder-" + std::to_string(::getpid()))) {
    fs::remove_all(path_);
  }
  ~Folder() override { fs::remove_all(path_); }
  std::string path() const { return path_.string(); }

  Manifest manifest(std::int64_t updates) const {
    Manifest m;
    m.library = "0.1.0";
    m.trainer = 2;
    m.updates = updates;
    m.optimizer = "adam";
    m.rates = {0.1, 1.0 / 3};
    m.strategy = "all_reduce";
    m.slices = 4;
    m.loop = {.number = 2, .first = 5, .last = 90, .running = true, .facts = "loop=1\nbatch=8\n"};
    m.parameters = {{"large", {130, 70}, {1, 130}, DType::float32},
                    {"small", {7}, {1}, DType::float32},
                    {"empty", {0, 3}, {3, 1}, DType::float32},
                    {"double", {2000}, {1}, DType::float64}};
    return m;
  }
  static FileEntry write_owner(const std::string& place, Owners& owners, std::size_t k) {
    ImageMemory memory;
    const FileImage image =
        state_image(memory, kOwnerPrefix + std::to_string(k) + ".safetensors", owners.layout, owners.pieces(k)).value();
    return write_images(place, {&image, 1}).value().front();
  }
  std::string write(Owners& owners, std::int64_t updates) {
    const std::string place = begin(path(), updates).value();
    Manifest m = manifest(updates);
    for (std::size_t k = 0; k < owners.owners.size(); ++k) m.files.push_back(write_owner(place, owners, k));
    EXPECT_TRUE(commit(path(), m).ok());
    return path() + "/" + folder_name(updates);
  }
  const fs::path path_;
};

TEST_F(Folder, IsReplacedWhereTheSystemSwapsNoFolders) {
  if (!testing_tools::can_refuse_calls()) GTEST_SKIP() << "the system has no seccomp";
  const update::Layout l = layout();
  Owners owners(l, 1);
  const std::string first = write(owners, 12);
  std::ofstream(first + "/of_the_older_one").put('x');
  owners.fill();
  for (const int error : {ENOSYS, EPERM, EINVAL})
    EXPECT_TRUE(testing_tools::holds_without({SYS_renameat2}, error, [&] {
      const std::string again = write(owners, 12);
      Owners readers(l, 1);
      return !fs::exists(again + "/of_the_older_one") && verify(again).ok() &&
             restore(again, l, readers.pieces(0)).ok() && readers.content() == owners.content();
    })) << error;
}

TEST_F(Folder, OwnersOfOtherPiecesReadWhatOthersWrote) {
  const update::Layout l = layout();
  for (const int before : {1, 2, 5}) {
    Owners writers(l, before);
    writers.fill();
    const std::string checkpoint = write(writers, 12);
    ASSERT_TRUE(verify(checkpoint).ok()) << verify(checkpoint).status().message();
    for (const int after : {1, 3}) {
      Owners readers(l, after);
      for (std::size_t k = 0; k < readers.owners.size(); ++k)
        ASSERT_TRUE(restore(checkpoint, l, readers.pieces(k)).ok());
      EXPECT_EQ(readers.content(), writers.content());
    }
  }
}

TEST_F(Folder, AManifestIsWhatItWas) {
  const Manifest m = manifest(3);
  const std::string text = m.encode();
  ASSERT_TRUE(Manifest::decode(text).ok());
  EXPECT_EQ(*Manifest::decode(text), m);
  std::string newer = text.substr(0, text.rfind("xxh3 "));
  newer.replace(newer.find("\"format\": 2"), 11, "\"format\": 3");
  newer += "xxh3 " + hash128(as_bytes(std::string_view(newer))) + "\n";
  EXPECT_EQ(Manifest::decode(newer).status().message(),
            "its format is 3, of a newer version of Cohaul; this one reads up to 2");
}

TEST_F(Folder, EveryByteThatIsChangedIsFound) {
  const update::Layout l = std::move(*update::Layout::of({{"w", {3}}}));
  Owners owners(l, 1);
  owners.fill();
  const std::string checkpoint = write(owners, 1);
  for (const char* name : {kManifestName, "owner-0.safetensors"}) {
    const std::string file = checkpoint + "/" + name;
    std::ifstream in(file, std::ios::binary);
    const std::string good{std::istreambuf_iterator<char>(in), {}};
    const auto put = [&](const std::string& content) { std::ofstream(file, std::ios::binary) << content; };
    for (std::size_t i = 0; i < good.size(); ++i) {
      std::string flipped = good;
      flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i % 8)));
      put(flipped);
      const Status found = verify(checkpoint).status();
      ASSERT_EQ(found.code(), Code::invalid) << name << ", byte " << i;
      ASSERT_NE(found.message().find(file), std::string::npos) << found.message();
      put(good.substr(0, i));
      ASSERT_EQ(verify(checkpoint).status().code(), Code::invalid) << name << ", cut after byte " << i;
    }
    put(good);
    ASSERT_TRUE(verify(checkpoint).ok());
  }
  fs::remove(checkpoint + "/owner-0.safetensors");
  EXPECT_NE(verify(checkpoint).status().message().find("owner-0.safetensors: cannot be opened"), std::string::npos);
}

TEST_F(Folder, TheNewestGoodOneIsFoundAndOldOnesAreRemoved) {
  const update::Layout l = layout();
  Owners owners(l, 2);
  EXPECT_TRUE(find(path()).path.empty()) << "there is no folder yet";
  for (const std::int64_t updates : {5, 10, 100, 1000}) (void)write(owners, updates);
  fs::resize_file(path() + "/" + folder_name(1000) + "/owner-1.safetensors", 40);
  Found found = find(path());
  EXPECT_EQ(found.manifest.updates, 100);
  ASSERT_EQ(found.passed_over.size(), 1u);
  EXPECT_NE(found.passed_over[0].message().find("owner-1.safetensors: has 40 bytes, and had"), std::string::npos);
  EXPECT_EQ(find(path() + "/" + folder_name(10)).manifest.updates, 10) << "one of them by itself";
  EXPECT_EQ(find(path() + "/" + folder_name(1000)).path, "");
  (void)begin(path(), 2000);
  prune(path(), 2);
  EXPECT_EQ(list(path()), (std::vector<std::int64_t>{100, 1000}));
  EXPECT_EQ(std::distance(fs::directory_iterator(path()), {}), 2) << "what was begun and never finished is gone too";
}

TEST_F(Folder, ExportPutsElementsIntoRowMajorOrder) {
  const update::Layout l = layout();
  Owners owners(l, 3);
  owners.fill();
  const std::string checkpoint = write(owners, 4), file = path() + "/out.safetensors";
  ASSERT_TRUE(export_parameters(checkpoint, *verify(checkpoint), file).ok());
  const TensorFile out = *read(file);
  const TensorView* large = out.find("large");  // [130, 70], which lies in memory by columns
  ASSERT_NE(large, nullptr);
  EXPECT_EQ(large->shape, (std::vector<std::int64_t>{130, 70}));
  for (const auto& [row, column] : {std::pair(0, 0), {1, 0}, {0, 1}, {129, 69}, {60, 33}})
    EXPECT_EQ(std::memcmp(large->data.data() + (row * 70 + column) * 4,
                          owners.flat.data() + l.offset(0) + static_cast<std::size_t>(column * 130 + row) * 4, 4),
              0);
  EXPECT_EQ(out.find("double")->data.size(), 16'000u);
  Manifest wrong = *verify(checkpoint);
  wrong.parameters[0].strides = {70, 2};
  EXPECT_EQ(export_parameters(checkpoint, wrong, file).code(), Code::invalid);
}

TEST(FileImages, TakeTheMemoryOfThoseThatAreGone) {
  ImageMemory memory;
  std::shared_ptr<std::byte[]> a = memory.take(100), b = memory.take(50);
  const std::byte* const large = a.get();
  const std::byte* const small = b.get();
  a.reset();
  b.reset();
  EXPECT_EQ((b = memory.take(40)).get(), small);
  EXPECT_EQ((a = memory.take(40)).get(), large);
  b.reset();
  EXPECT_NE((b = memory.take(60)).get(), nullptr);  // 60 bytes in the place of 50
  std::memset(b.get(), 1, 60);
  const std::byte* const larger = b.get();
  a.reset();
  b.reset();
  EXPECT_EQ((b = memory.take(51)).get(), larger);
  { const ImageMemory none = std::move(memory); }
  std::memset(b.get(), 2, 60);  // it outlives the memory that it came from
}

/// What an owner says of its files is read as it was said; names have no spaces.
TEST(FileImages, AreWhatWriteWrites) {
  const fs::path folder = fs::path(testing::TempDir()) / "images";
  fs::create_directories(folder);
  const std::vector<float> values = {1, 2, 3};
  const TensorView t{"t", TensorType::f32, {3}, as_bytes(std::span(values))};
  ImageMemory memory;
  const FileImage image = make_image(memory, "a.safetensors", {&t, 1}, {{"format", "pt"}}).value();
  ASSERT_TRUE(checkpoint::write((folder / "b.safetensors").string(), {&t, 1}, {{"format", "pt"}}).ok());
  const FileEntry a = write_images(folder.string(), {&image, 1}).value().front();
  const FileEntry b = entry_of(folder.string(), "b.safetensors").value();
  EXPECT_EQ(a.hash, b.hash);
  EXPECT_EQ(a.bytes, b.bytes);
  const std::vector<FileEntry> both = {a, b};
  const std::vector<FileEntry> read = files_of(text_of(both)).value();
  ASSERT_EQ(read.size(), 2u);
  EXPECT_EQ(read[1].name, "b.safetensors");
  EXPECT_EQ(read[1].bytes, b.bytes);
  EXPECT_EQ(read[1].hash, b.hash);
  EXPECT_TRUE(files_of(text_of(std::vector<FileEntry>())).value().empty());
  const Result<std::vector<FileEntry>> failed = files_of(text_of(invalid("full")));
  EXPECT_EQ(failed.status().message(), "full");
  EXPECT_NE(write_images("/nowhere", {&image, 1}).status().message().find("/nowhere/a.safetensors"), std::string::npos);
  fs::remove_all(folder);
}

TEST_F(Folder, WhatAFileLacksIsNamed) {
  const update::Layout l = layout();
  Owners owners(l, 2);
  SavedState half;
  const std::string place = begin(path(), 1).value();
  (void)write_owner(place, owners, 1);
  ASSERT_TRUE(half.add(place + "/owner-1.safetensors").ok());
  update::StatePiece whole;
  std::vector<std::byte> values(l.bytes(0));
  EXPECT_NE(half.read_values("large", DType::float32, 0, values).message().find("of parameter large are in no file"),
            std::string::npos);
  EXPECT_EQ(half.read_values("other", DType::float32, 0, values).message(), "parameter other is not in the checkpoint");
  whole.elements = l.elements(0);
  whole.values = values;
  whole.dtype = DType::float64;
  EXPECT_EQ(half.restore("double", whole).code(), Code::invalid) << "two states, and none asked for";
}

}  // namespace
}  // namespace cohaul::checkpoint
