#include "cohaul/cli/demo_modes.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>

#include <nlohmann/json.hpp>

#include "cohaul/checkpoint/safetensors.h"

namespace cohaul::cli {
namespace {

using checkpoint::TensorView;
using nlohmann::json;

const std::string kSlices = "train.slices=4";  // all modes cut each batch alike, so that bits can be compared
const std::string kServer = "strategy.name=parameter_server";

double number(const json& record, const char* key) {
  auto it = record.find(key);
  return it != record.end() && it->is_number() ? it->get<double>() : std::numeric_limits<double>::quiet_NaN();
}

template <class T>
double difference(const TensorView& a, const TensorView& b) {
  double largest = 0, apart = 0;
  for (std::size_t i = 0; i + sizeof(T) <= a.data.size(); i += sizeof(T)) {
    T x, y;
    std::memcpy(&x, a.data.data() + i, sizeof x);
    std::memcpy(&y, b.data.data() + i, sizeof y);
    largest = std::max(largest, std::abs(static_cast<double>(x)));
    const double d = std::abs(static_cast<double>(x) - static_cast<double>(y));
    if (!(d <= apart)) apart = d;  // a NaN stays
  }
  return apart == 0 ? 0 : apart / largest;
}

/// Mean and maximum over the step records, for a record whose result has none.
struct Seen {
  double sum = 0, max = 0;
  int count = 0;
};

}  // namespace

std::vector<DemoMode> demo_modes() {
  return {
      {"one process", "One process holds the parameters, computes each batch and updates them.", 1, 0, {kSlices}},
      {"all-reduce",
       "Four workers share each batch; their gradients are summed, and all update alike.",
       4,
       0,
       {kSlices}},
      {"server, sync",
       "Two servers hold the parameters: when all four workers have pushed, they update.",
       4,
       2,
       {kSlices, kServer, "strategy.servers=2", "strategy.consistency=sync"}},
      {"server, async",
       "Nobody waits: a push is applied when it comes, to parameters that have moved on.",
       4,
       2,
       {kSlices, kServer, "strategy.servers=2", "strategy.consistency=async"}},
      {"server, bounded 3",
       "As before, but no worker may run more than three steps ahead of the slowest.",
       4,
       2,
       {kSlices, kServer, "strategy.servers=2", "strategy.consistency=bounded", "strategy.staleness=3"}},
      {"tensor",
       "Model parallel: two workers hold half of the classes each, for the same batch.",
       2,
       0,
       {"strategy.name=tensor"}},
  };
}

Result<DemoResult> read_result(const std::string& record_file) {
  std::ifstream in(record_file);
  Seen seen;
  for (std::string line; std::getline(in, line);) {
    const json record = json::parse(line, nullptr, false);
    if (!record.is_object()) continue;
    if (record.value("record", "") == "step" && record.contains("staleness_mean")) {
      seen.sum += number(record, "staleness_mean");
      seen.max = std::max(seen.max, number(record, "staleness_max"));
      ++seen.count;
    }
    if (record.value("record", "") != "result") continue;
    DemoResult out{number(record, "loss"), number(record, "accuracy"), number(record, "samples_per_s"), {}, {}};
    if (record.contains("staleness_mean")) {
      out.staleness_mean = number(record, "staleness_mean");
      out.staleness_max = number(record, "staleness_max");
    } else if (seen.count > 0) {
      out.staleness_mean = seen.sum / seen.count;
      out.staleness_max = seen.max;
    }
    return out;
  }
  return corrupt(record_file + ": no result in the record");
}

Result<double> largest_difference(const std::string& reference, const std::string& other) {
  COHAUL_ASSIGN(const checkpoint::TensorFile a, checkpoint::read(reference));
  COHAUL_ASSIGN(const checkpoint::TensorFile b, checkpoint::read(other));
  if (a.tensors().size() != b.tensors().size()) return corrupt(other + ": other tensors than " + reference);
  double largest = 0;
  for (const TensorView& x : a.tensors()) {
    const TensorView* y = b.find(x.name);
    if (!y || y->type != x.type || y->data.size() != x.data.size())
      return corrupt(other + ": other tensors than " + reference);
    double d = std::numeric_limits<double>::quiet_NaN();
    if (x.type == checkpoint::TensorType::f32) d = difference<float>(x, *y);
    else if (x.type == checkpoint::TensorType::f64) d = difference<double>(x, *y);
    else if (std::ranges::equal(x.data, y->data)) d = 0;
    if (!(d <= largest)) largest = d;
  }
  return largest;
}

}  // namespace cohaul::cli
