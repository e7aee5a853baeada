#include "cohaul/update/layout.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <unordered_set>
#include <utility>

#include "cohaul/base/hash.h"
#include "cohaul/update/optimizer_settings.h"

namespace cohaul::update {
namespace {

constexpr std::uint64_t blocks_of(std::uint64_t elements) { return (elements + kBlockElements - 1) / kBlockElements; }

Result<std::uint64_t> count_elements(const ParameterSpec& p) {
  std::uint64_t n = 1;
  bool none = false, overflow = false;
  for (std::int64_t size : p.shape) {
    if (size < 0) return invalid("parameter " + p.name + ": a dim of its shape is negative: " + std::to_string(size));
    if (size == 0) none = true;
    else overflow |= __builtin_mul_overflow(n, static_cast<std::uint64_t>(size), &n);
  }
  if (none) return std::uint64_t{0};
  if (overflow || n > kLayoutBytesMax / size_of(p.dtype))
    return invalid("parameter " + p.name + ": its shape has more elements than memory can hold");
  return n;
}

}  // namespace

Result<Layout> Layout::of(std::vector<ParameterSpec> parameters) {
  Layout l;
  l.parameters_ = std::move(parameters);
  COHAUL_TRY(l.place());
  l.find_buckets();
  std::uint64_t blocks = 0;
  for (std::size_t p = 0; p < l.parameters_.size(); ++p)
    if (l.bucket_of_[p] >= 0) blocks += blocks_of(l.elements_[p]);
  // Rounded down, so that there are never fewer than kPartitionsMin.
  std::uint64_t blocks_max = std::max<std::uint64_t>(1, blocks / kPartitionsMin);
  for (std::size_t r = 0; r < l.buckets_.size(); ++r) l.cut(static_cast<std::int32_t>(r), blocks_max);

  std::vector<std::byte> encoded;
  Writer writer(encoded);
  l.encode(writer);
  l.hash_ = std::max<std::uint64_t>(1, hash64(encoded));  // 0 means "not known yet" to peers
  return l;
}

Status Layout::place() {
  if (parameters_.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
    return invalid("more than 2^31 - 1 parameters");
  std::unordered_set<std::string_view> names;
  offsets_.reserve(parameters_.size());
  elements_.reserve(parameters_.size());
  for (const ParameterSpec& p : parameters_) {
    if (!names.insert(p.name).second) return invalid("parameter " + p.name + ": the name is there twice");
    if (p.group < 0 || p.group >= static_cast<std::int32_t>(kGroupsMax))
      return invalid("parameter " + p.name + ": its group is " + std::to_string(p.group));
    groups_ = std::max(groups_, p.group + 1);
    COHAUL_ASSIGN(std::uint64_t n, count_elements(p));
    if (p.whole && n * size_of(p.dtype) > kWholeBytesMax)
      return invalid("parameter " + p.name +
                     " is larger than 4 GiB, and its rule needs all of it at one owner: put it into a group of its own "
                     "with trust_ratio = false");
    offsets_.push_back(bytes_);
    elements_.push_back(n);
    bytes_ += aligned(n * size_of(p.dtype));
    if (bytes_ > kLayoutBytesMax)
      return invalid("parameter " + p.name + ": all together are more than memory can hold");
  }
  return {};
}

void Layout::find_buckets() {
  bucket_of_.assign(parameters_.size(), -1);
  bool open = false;  // the last bucket may take another small parameter
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const ParameterSpec& p = parameters_[i];
    std::uint64_t bytes = elements_[i] * size_of(p.dtype);
    bool small = bytes < kLargeBytes;
    if (!p.trainable) {
      open = false;
      continue;
    }
    const auto fits = [&](const Bucket& bucket) {
      return bucket.dtype == p.dtype && bucket.reduce == p.reduce &&
             offsets_[i] + bytes - bucket.offset <= kBucketBytesMax &&
             static_cast<std::size_t>(bucket.parameter_last - bucket.parameter_first) < kBucketParametersMax;
    };
    if (!(open && small && fits(buckets_.back()))) {
      Bucket bucket{};
      bucket.parameter_first = static_cast<std::int32_t>(i);
      bucket.dtype = p.dtype;
      bucket.reduce = p.reduce;
      has_buffers_ |= p.reduce != Reduce::update;
      bucket.offset = offsets_[i];
      buckets_.push_back(bucket);
    }
    Bucket& bucket = buckets_.back();
    bucket.parameter_last = static_cast<std::int32_t>(i + 1);
    bucket.bytes = offsets_[i] + bytes - bucket.offset;
    bucket_of_[i] = static_cast<std::int32_t>(buckets_.size() - 1);
    open = small;
  }
}

void Layout::cut(std::int32_t index, std::uint64_t blocks_max) {
  Bucket& bucket = buckets_[index];
  const std::uint64_t size = size_of(bucket.dtype);
  bucket.partition_first = static_cast<std::int32_t>(partitions_.size());
  std::uint64_t room = 0;  // blocks that the last partition may still take
  for (std::int32_t p = bucket.parameter_first; p < bucket.parameter_last; ++p) {
    const bool whole = parameters_[p].whole;
    for (std::uint64_t done = 0; done < elements_[p];) {
      const std::uint64_t offset = offsets_[p] + done * size;
      const std::uint64_t left = elements_[p] - done;
      // Returns how many whole blocks of those left fit; the parameter's last may be short.
      auto fitting = [&](std::uint64_t start) {
        if (whole && start == offset) return blocks_of(left);
        std::uint64_t bytes = kPartitionBytesMax - std::min<std::uint64_t>(kPartitionBytesMax, offset - start);
        return left * size <= bytes ? blocks_of(left) : bytes / (kBlockElements * size);
      };
      std::uint64_t blocks = room == 0 ? 0 : std::min(room, fitting(partitions_.back().offset));
      if (whole && blocks < blocks_of(left)) blocks = 0;
      if (blocks == 0) {
        auto segment = static_cast<std::uint32_t>(segments_.size());
        partitions_.push_back({index, bucket.dtype, offset, 0, segment, segment});
        room = whole ? std::max(blocks_max, blocks_of(left)) : blocks_max;
        blocks = std::min(room, fitting(offset));
      }
      const std::uint64_t n = std::min(left, blocks * kBlockElements);
      segments_.push_back({p, offset, n});
      Partition& partition = partitions_.back();
      partition.bytes = offset + n * size - partition.offset;
      ++partition.segment_last;
      room -= blocks;
      done += n;
    }
  }
  bucket.partition_last = static_cast<std::int32_t>(partitions_.size());
}

std::uint64_t Layout::bytes(std::int32_t parameter) const {
  return elements_[parameter] * size_of(parameters_[parameter].dtype);
}

std::uint64_t Layout::elements(std::int32_t parameter) const { return elements_[parameter]; }

void Layout::encode(Writer& out) const {
  out.put(static_cast<std::uint32_t>(parameters_.size()));
  for (const ParameterSpec& p : parameters_) {
    out.text(p.name).put(p.dtype).put(static_cast<std::uint8_t>(p.trainable)).put(p.group).put(p.reduce);
    out.put(static_cast<std::uint8_t>(p.whole));
    out.put(static_cast<std::uint32_t>(p.shape.size()));
    for (std::int64_t size : p.shape) out.put(size);
  }
}

Result<Layout> Layout::decode(Reader& in) {
  constexpr std::size_t kParameterBytesMin = 4 + 1 + 1 + 4 + 1 + 1 + 4;
  std::vector<ParameterSpec> parameters;
  auto count = in.get<std::uint32_t>();
  if (!in.ok() || count > in.left() / kParameterBytesMin) return corrupt("layout: more parameters announced than sent");
  parameters.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    ParameterSpec p;
    p.name = in.text();
    auto dtype = in.get<std::uint8_t>();
    auto trainable = in.get<std::uint8_t>();
    p.group = in.get<std::int32_t>();
    auto reduce = in.get<std::uint8_t>();
    auto whole = in.get<std::uint8_t>();
    auto dims = in.get<std::uint32_t>();
    if (!in.ok() || dims > in.left() / sizeof(std::int64_t)) return corrupt("layout: cut short in parameter " + p.name);
    if (dtype > static_cast<std::uint8_t>(DType::float64) || trainable > 1 || whole > 1 ||
        reduce > static_cast<std::uint8_t>(Reduce::first))
      return corrupt("layout: parameter " + p.name + ": unknown type or flag");
    p.dtype = static_cast<DType>(dtype);
    p.reduce = static_cast<Reduce>(reduce);
    p.trainable = trainable == 1;
    p.whole = whole == 1;
    for (std::uint32_t d = 0; d < dims; ++d) p.shape.push_back(in.get<std::int64_t>());
    parameters.push_back(std::move(p));
  }
  Result<Layout> layout = of(std::move(parameters));
  if (!layout.ok()) return corrupt("layout: " + layout.status().message());
  return layout;
}

namespace {

/// Returns the level that `loads` (ascending) reach when `bytes` are poured onto them.
std::uint64_t fill_level(std::span<const std::int32_t> order, std::span<const std::uint64_t> loads,
                         std::uint64_t bytes) {
  std::uint64_t sum = bytes;
  std::size_t k = 0;
  while (k < order.size() && (k == 0 || loads[order[k]] * k < sum)) sum += loads[order[k++]];
  return sum / k;
}

}  // namespace

std::vector<std::int32_t> assign_owners(const Layout& layout, int owners) {
  std::span buckets = layout.buckets();
  std::span partitions = layout.partitions();
  std::vector<std::int32_t> owner(partitions.size(), 0);
  std::vector<std::uint64_t> loads(std::max(owners, 1), 0);
  std::vector<std::int32_t> order(loads.size());
  std::vector<std::int32_t> bucket_order(buckets.size());
  std::iota(bucket_order.begin(), bucket_order.end(), 0);
  // Largest first, so that small ones even out what large ones left uneven.
  std::ranges::stable_sort(bucket_order, [&](auto a, auto b) { return buckets[a].bytes > buckets[b].bytes; });
  for (std::int32_t r : bucket_order) {
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, [&](auto a, auto b) { return loads[a] < loads[b]; });
    const std::uint64_t level = fill_level(order, loads, buckets[r].bytes);
    // The owners' portions up to `level` lie end to end along the bucket. A partition belongs to the owner in whose portion
    // its middle lies. The first portion is always the least loaded owner's.
    const std::vector<std::uint64_t> before = loads;
    const auto portion = [&](std::size_t k) { return level - std::min(level, before[order[k]]); };
    std::size_t k = 0;
    std::uint64_t done = 0, end = portion(0);
    for (std::int32_t p = buckets[r].partition_first; p < buckets[r].partition_last; ++p) {
      const std::uint64_t middle = done + partitions[p].bytes / 2;
      while (done > 0 && middle > end && k + 1 < order.size()) end += portion(++k);
      owner[p] = order[k];
      loads[order[k]] += partitions[p].bytes;
      done += partitions[p].bytes;
    }
  }
  return owner;
}

}  // namespace cohaul::update
