#include "cohaul/data/open.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <span>

#include "cohaul/base/align.h"
#include "cohaul/base/clock.h"
#include "cohaul/data/idx.h"
#include "cohaul/data/keys.h"
#include "cohaul/job/job.h"
#include "cohaul/transport/arena.h"

namespace cohaul::data {
namespace {

namespace fs = std::filesystem;

struct Known {
  std::string_view name, default_path;
};
constexpr std::array kKnown{Known{"fashion-mnist", "/usr/share/datasets/fashion-mnist"}, Known{"mnist", ""},
                            Known{"idx", ""}};
constexpr int kClasses = 10;  // of the data sets with a known name, fashion-mnist and mnist

/// A file, and its place in the memory of all four.
struct Part {
  fs::path file;
  IdxHeader header;
  std::size_t offset = 0;
  std::size_t bytes() const { return header.values(); }
};

struct Plan {
  std::string folder;
  bool any_classes = false;
  std::array<Part, 4> parts;  // train images, train labels, test images, test labels
  std::size_t bytes = 0;
};

Result<fs::path> folder_of(const std::string& name, const std::string& path) {
  std::string known;
  for (const Known& k : kKnown) {
    if (k.name != name) {
      known += (known.empty() ? "" : ", ") + std::string(k.name);
      continue;
    }
    if (!path.empty()) return fs::path(path);
    if (!k.default_path.empty()) return fs::path(k.default_path);
    return invalid("data.name = \"" + name +
                   "\" has no folder of its own; set data.path to the folder of its IDX files");
  }
  return invalid("data.name = \"" + name + "\": no such data set; choose one of " + known);
}

Status check_pair(const Part& images, const Part& labels) {
  if (images.header.count == labels.header.count) return {};
  return invalid(labels.file.string() + ": holds " + std::to_string(labels.header.count) + " labels, and " +
                 images.file.string() + " " + std::to_string(images.header.count) +
                 " images; take both from the same data set");
}

Status read_labels(const Plan& plan, const Part& labels, Bytes out) {
  COHAUL_TRY(read_idx(labels.file, labels.header, out));
  return plan.any_classes ? Status() : check_labels(out, kClasses).context(labels.file.string());
}

/// Returns the number of classes, which is above all labels.
int classes_of(const Plan& plan, ConstBytes labels) {
  if (!plan.any_classes) return kClasses;
  int most = 1;
  for (const std::byte label : labels) most = std::max(most, std::to_integer<int>(label));
  return most + 1;
}

Result<Plan> plan(const std::string& name, const std::string& path) {
  COHAUL_ASSIGN(fs::path folder, folder_of(name, path));
  constexpr std::array kStems{"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
                              "t10k-labels-idx1-ubyte"};
  // The path is a folder, or a prefix for one of several sets in a folder, as EMNIST has them: PREFIX-train-…, PREFIX-test-….
  std::string prefix;
  if (is_of_several(folder.string())) {
    prefix = folder.filename().string() + "-";
    folder = folder.parent_path();
  }
  Plan plan{.folder = (folder / prefix).string(), .any_classes = name == "idx", .parts = {}};
  for (std::size_t i = 0; i < kStems.size(); ++i) {
    Part& part = plan.parts[i];
    std::string stem = prefix + kStems[i];
    if (!prefix.empty() && i >= 2) stem.replace(prefix.size(), 4, "test");
    COHAUL_ASSIGN(part.file, find_idx(folder, stem));
    COHAUL_ASSIGN(part.header, read_idx_header(part.file, i % 2 == 0 ? IdxKind::images : IdxKind::labels));
    part.offset = plan.bytes;
    plan.bytes += aligned(part.bytes());
  }
  const auto& [train, train_labels, test, test_labels] = plan.parts;
  COHAUL_TRY(check_pair(train, train_labels));
  COHAUL_TRY(check_pair(test, test_labels));
  if (train.header.rows != test.header.rows || train.header.columns != test.header.columns) {
    return invalid(test.file.string() + ": its images are " + std::to_string(test.header.rows) + "×" +
                   std::to_string(test.header.columns) + ", and those of " + train.file.string() + " " +
                   std::to_string(train.header.rows) + "×" + std::to_string(train.header.columns) +
                   "; take both from the same data set");
  }
  return plan;
}

Status fill(const Plan& plan, Bytes out) {
  if (out.size() < plan.bytes) return invalid("the data files changed while the job started; start again");
  for (const Part& part : plan.parts) {
    Bytes piece = out.subspan(part.offset, part.bytes());
    COHAUL_TRY(part.header.kind == IdxKind::labels ? read_labels(plan, part, piece)
                                                   : read_idx(part.file, part.header, piece));
  }
  return {};
}

Images::Shape shape(const Part& images) { return {images.header.count, images.header.rows, images.header.columns}; }

Sets view(const Plan& plan, ConstBytes area, std::shared_ptr<const void> owner) {
  auto set = [&](const Part& images, const Part& labels) {
    return Images(shape(images), area.subspan(images.offset, images.bytes()),
                  area.subspan(labels.offset, labels.bytes()), owner);
  };
  int classes = 0;
  for (const Part* labels : {&plan.parts[1], &plan.parts[3]})
    classes = std::max(classes, classes_of(plan, area.subspan(labels->offset, labels->bytes())));
  return {set(plan.parts[0], plan.parts[1]), set(plan.parts[2], plan.parts[3]), classes};
}

}  // namespace

std::vector<std::string_view> names() {
  std::vector<std::string_view> out;
  for (const Known& k : kKnown) out.push_back(k.name);
  return out;
}

Result<Info> check(const std::string& name, const std::string& path) {
  COHAUL_ASSIGN(Plan files, plan(name, path));
  int classes = 0;
  for (const Part& part : files.parts) {
    if (part.header.kind != IdxKind::labels) continue;
    std::vector<std::byte> labels(part.bytes());
    COHAUL_TRY(read_labels(files, part, labels));
    classes = std::max(classes, classes_of(files, labels));
  }
  return Info{shape(files.parts[0]), shape(files.parts[2]), classes};
}

Result<Sets> load(const std::string& name, const std::string& path, job::Job* job) {
  COHAUL_ASSIGN(Plan files, plan(name, path));
  if (job == nullptr) {
    auto area = std::make_shared<std::vector<std::byte>>(files.bytes);
    COHAUL_TRY(fill(files, *area));
    ConstBytes bytes = *area;
    return view(files, bytes, std::move(area));
  }
  Time deadline = steady_clock().now() + seconds(job->options().join_timeout_s);
  std::string key = "data/" + name + "/" + std::to_string(std::hash<std::string>{}(files.folder));
  key += "/" + std::to_string(job->count(key));  // each call has shared memory of its own
  auto shared = job->share_on_host(
      key, files.bytes, transport::Access::read, [&](transport::Arena& arena) { return fill(files, arena.bytes()); },
      deadline);
  if (!shared.ok()) return shared.status().context("data set " + name);
  auto arena = std::make_shared<transport::Arena>(std::move(*shared));
  ConstBytes bytes = arena->bytes();
  if (bytes.size() < files.bytes) return invalid("the data files changed while the job started; start again");
  return view(files, bytes, std::move(arena));
}

}  // namespace cohaul::data
