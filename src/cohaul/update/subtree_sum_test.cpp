// Contributions that are combined on the way give the bits that their owner would give.

#include "cohaul/update/subtree_sum.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "cohaul/update/testing.h"

namespace cohaul::update {
namespace {

constexpr std::int32_t kSlices[] = {1, 2, 3, 4, 5, 7, 8, 12, 13};

Layout model() {
  return std::move(*Layout::of({{"a", {1500}},
                                {"b", {40}},
                                {"c", {2000}, DType::float64},
                                {"mean", {1100}, DType::float32, true, 0, Reduce::mean},
                                {"wide mean", {30}, DType::float64, true, 0, Reduce::mean},
                                {"other mean", {20}, DType::float64, true, 0, Reduce::mean},
                                {"first", {70}, DType::float32, true, 0, Reduce::first},
                                {"second", {7}, DType::float32, true, 0, Reduce::first}}));
}

/// As the flat area lies.
std::vector<std::byte> values_of(const Layout& layout, std::uint64_t seed) {
  std::vector<std::byte> out(layout.bytes());
  for (std::size_t p = 0; p < layout.parameters().size(); ++p) {
    const auto at = static_cast<std::int32_t>(p);
    const auto put = [&](const auto& v) { std::memcpy(out.data() + layout.offset(at), v.data(), layout.bytes(at)); };
    if (layout.parameters()[p].dtype == DType::float32) put(random_values<float>(layout.elements(at), seed + p));
    else put(random_values<double>(layout.elements(at), seed + p));
  }
  return out;
}

/// Of one slice, or of a subtree that was combined: all partitions.
struct Whole {
  SliceRange slices;
  std::int32_t worker;
  std::vector<std::byte> bytes;
  std::vector<std::vector<std::byte>> absent;  // by bucket
  Contribution of(const Layout& layout, std::size_t partition) const {
    const Partition& p = layout.partitions()[partition];
    return {ConstBytes(bytes).subspan(p.offset, p.bytes), absent[static_cast<std::size_t>(p.bucket)], slices, worker};
  }
};

std::vector<Whole> one_each(const Layout& layout, std::int32_t slices, std::uint64_t seed) {
  Random random(seed);
  std::vector<Whole> out;
  for (std::int32_t v = 0; v < slices; ++v) {
    Whole& whole = out.emplace_back(Whole{{v, v + 1, slices}, v, values_of(layout, seed * 1000 + 10 * v), {}});
    for (const Bucket& bucket : layout.buckets()) {
      const auto n = static_cast<std::size_t>(bucket.parameter_last - bucket.parameter_first);
      std::vector<std::byte>& mask = whole.absent.emplace_back();
      for (std::size_t p = 0; p < n; ++p)
        if (random.below(3) == 0) set_absent(mask, p, n);
    }
  }
  return out;
}

std::vector<Contribution> at(const Layout& layout, const std::vector<Whole>& all, std::size_t partition) {
  std::vector<Contribution> out;
  for (const Whole& whole : all) out.push_back(whole.of(layout, partition));
  return out;
}

/// What hosts make of slices that are cut between them at `cuts`.
std::vector<Whole> combined(const Layout& layout, const std::vector<Whole>& all, const std::vector<std::int32_t>& cuts,
                            ConstBytes values, GradientFacts* names) {
  std::vector<Whole> out;
  const auto slices = static_cast<std::int32_t>(all.size());
  for (std::size_t h = 0; h <= cuts.size(); ++h) {
    const SliceRange host{h == 0 ? 0 : cuts[h - 1], h == cuts.size() ? slices : cuts[h], slices};
    for (const SliceRange& tree : subtrees_of(host)) {
      const std::vector<Whole> terms(all.begin() + tree.first, all.begin() + tree.last);
      Whole& sum = out.emplace_back(Whole{tree, -1, std::vector<std::byte>(layout.bytes(), std::byte{7}), {}});
      sum.absent.resize(layout.buckets().size());
      for (std::size_t p = 0; p < layout.partitions().size(); ++p) {
        const Partition& partition = layout.partitions()[p];
        const std::vector<Contribution> contributions = at(layout, terms, p);
        sum_subtree(layout, PartitionId(static_cast<std::int32_t>(p)), contributions, values.data() + partition.offset,
                    sum.bytes.data() + partition.offset, names);
        const auto bucket = static_cast<std::size_t>(partition.bucket);
        absent_in_subtree(layout.buckets()[bucket].reduce, contributions, sum.absent[bucket]);
      }
    }
  }
  return out;
}

std::vector<std::byte> updated(const Layout& layout, const std::vector<Whole>& all, std::vector<std::byte> values) {
  std::vector<PartitionId> ids;
  for (std::size_t p = 0; p < layout.partitions().size(); ++p) ids.emplace_back(static_cast<std::int32_t>(p));
  Owner owner(layout, RuleSettings{.lr = 0.1, .momentum = 0.9}, {}, ids);
  for (std::size_t p = 0; p < ids.size(); ++p) {
    std::byte* place = values.data() + layout.partitions()[p].offset;
    owner.apply(ids[p], at(layout, all, p), 0, {}, place, place);
  }
  return values;
}

GradientFacts facts_of(const Layout& layout, const std::vector<Whole>& all) {
  GradientFacts facts;
  for (std::size_t p = 0; p < layout.partitions().size(); ++p)
    measure(layout, PartitionId(static_cast<std::int32_t>(p)), at(layout, all, p), facts);
  return facts;
}

TEST(SubtreeSum, GivesTheBitsOfTheOwner) {
  const Layout layout = model();
  const std::vector<std::byte> values = values_of(layout, 1);
  Random random(5);
  for (const std::int32_t slices : kSlices) {
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
      const std::vector<Whole> all = one_each(layout, slices, seed);
      std::vector<std::int32_t> cuts;
      for (std::int32_t v = 1; v < slices; ++v)
        if (random.below(4) == 0) cuts.push_back(v);
      const std::vector<Whole> sums = combined(layout, all, cuts, values, nullptr);
      EXPECT_EQ(updated(layout, sums, values), updated(layout, all, values)) << slices << " slices, seed " << seed;
      EXPECT_EQ(facts_of(layout, sums).squares.value(), facts_of(layout, all).squares.value());
    }
  }
}

/// The first parameter that is not finite, and the lowest worker that is to blame, however it was summed.
TEST(SubtreeSum, NamesWhoseGradientIsNotFinite) {
  const Layout layout = model();
  const std::vector<std::byte> values = values_of(layout, 1);
  for (std::int32_t bad = 0; bad < 4; ++bad) {
    for (const std::int32_t parameter : {0, 1}) {
      std::vector<Whole> all = one_each(layout, 4, 3);
      for (Whole& whole : all)
        for (auto& mask : whole.absent) mask.clear();
      const float infinite = std::numeric_limits<float>::infinity();
      std::memcpy(all[static_cast<std::size_t>(bad)].bytes.data() + layout.offset(parameter) + 12, &infinite, 4);
      std::memcpy(all[3].bytes.data() + layout.offset(1) + 8, &infinite, 4);
      GradientFacts names;
      const std::vector<Whole> sums = combined(layout, all, {2}, values, &names);
      EXPECT_EQ(names.non_finite, 0);
      GradientFacts ours = facts_of(layout, sums), expected = facts_of(layout, all);
      EXPECT_EQ(ours.worker, -1);
      ours.merge(names);
      EXPECT_EQ(ours.parameter, expected.parameter);
      EXPECT_EQ(ours.worker, bad);
      EXPECT_EQ(expected.worker, bad);
      EXPECT_EQ(ours.non_finite, expected.non_finite);
    }
  }
}

/// Where all gradients are finite and only their sum is not, no worker is named.
TEST(SubtreeSum, NamesNobodyWhereTheSumAloneIsNotFinite) {
  const Layout layout = model();
  const std::vector<std::byte> values = values_of(layout, 1);
  std::vector<Whole> all = one_each(layout, 4, 3);
  for (Whole& whole : all) {
    for (auto& mask : whole.absent) mask.clear();
    const float large = std::numeric_limits<float>::max();
    std::memcpy(whole.bytes.data() + layout.offset(0), &large, 4);
  }
  GradientFacts names;
  GradientFacts ours = facts_of(layout, combined(layout, all, {2}, values, &names));
  ours.merge(names);
  EXPECT_EQ(ours.non_finite, 1);
  EXPECT_EQ(ours.parameter, 0);
  EXPECT_EQ(ours.worker, -1);
}

}  // namespace
}  // namespace cohaul::update
