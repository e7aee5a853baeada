#include "cohaul/update/layout.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

namespace cohaul::update {
namespace {

ParameterSpec spec(std::string name, std::vector<std::int64_t> shape, DType dtype = DType::float32,
                   bool trainable = true) {
  return {std::move(name), std::move(shape), dtype, trainable};
}

Layout make(std::vector<ParameterSpec> parameters) {
  Result<Layout> layout = Layout::of(std::move(parameters));
  EXPECT_TRUE(layout.ok()) << layout.status().message();
  return std::move(layout).value();
}

/// wholes: some of its parameters are not cut.
Layout random_layout(bool wholes = false) {
  std::vector<ParameterSpec> parameters;
  const int count = *rc::gen::inRange(0, 12);
  for (int i = 0; i < count; ++i) {
    const std::int64_t columns = *rc::gen::element<std::int64_t>(0, 1, 3, 64, 1000, 1024);
    const std::int64_t rows = *rc::gen::element<std::int64_t>(1, 2, 7, 100, 3000);
    parameters.push_back(spec("p" + std::to_string(i), {rows, columns},
                              *rc::gen::element(DType::float32, DType::float64),
                              *rc::gen::element(true, true, true, false)));
    parameters.back().whole = wholes && *rc::gen::arbitrary<bool>();
  }
  return make(std::move(parameters));
}

TEST(Layout, BucketsEndAtLargeFrozenAndOtherTypes) {
  Layout l = make({spec("a", {10}), spec("b", {20}), spec("large", {200, 100}), spec("c", {5}),
                   spec("frozen", {5}, DType::float32, false), spec("d", {5}), spec("e", {5}, DType::float64),
                   spec("f", {5}, DType::float64)});
  std::vector<std::int32_t> buckets;
  for (int p = 0; p < 8; ++p) buckets.push_back(l.bucket_of(p));
  EXPECT_EQ(buckets, (std::vector<std::int32_t>{0, 0, 1, 2, -1, 3, 4, 4}));
  EXPECT_EQ(l.offset(1), 64u);
  EXPECT_EQ(l.buckets()[0].bytes, 64u + 80u);
  EXPECT_EQ(l.bytes() % kAlignment, 0u);
}

TEST(Layout, AtLeastSixteenPartitionsAndAtMostFourMegabytes) {
  EXPECT_EQ(make({spec("w", {17, 1024})}).partitions().size(), 17u);
  EXPECT_EQ(make({spec("w", {47, 1024})}).partitions().size(), 24u);
  EXPECT_EQ(make({spec("w", {10, 784}), spec("b", {10})}).partitions().size(), 9u);
  Layout large = make({spec("w", {40000, 1024})});  // 164 MB
  EXPECT_EQ(large.partitions().size(), 40u);
  for (const Partition& p : large.partitions()) EXPECT_LE(p.bytes, kPartitionBytesMax);
}

TEST(Layout, BucketsOfSmallParametersHaveABound) {
  std::vector<ParameterSpec> many, empty;
  for (int i = 0; i < 20'000; ++i) many.push_back(spec("p" + std::to_string(i), {100}));
  for (int i = 0; i < 40'000; ++i) empty.push_back(spec("e" + std::to_string(i), {0}));
  const Layout of_many = make(std::move(many)), of_empty = make(std::move(empty));
  EXPECT_EQ(of_many.buckets().size(), 9u);
  for (const auto& r : of_many.buckets()) EXPECT_LE(r.bytes, kBucketBytesMax);
  EXPECT_EQ(of_empty.buckets().size(), 3u);
  for (const auto& r : of_empty.buckets())
    EXPECT_LE(static_cast<std::size_t>(r.parameter_last - r.parameter_first), kBucketParametersMax);
}

RC_GTEST_PROP(Layout, EveryTrainableElementIsInExactlyOnePartition, ()) {
  const Layout l = random_layout();
  std::vector<std::uint64_t> next(l.parameters().size(), 0);  // elements covered so far, in order
  std::uint64_t blocks = 0;
  for (std::size_t i = 0; i < l.partitions().size(); ++i) {
    const Partition& p = l.partitions()[i];
    RC_ASSERT(p.segment_first < p.segment_last);
    RC_ASSERT(p.segment_first == (i == 0 ? 0 : l.partitions()[i - 1].segment_last));
    RC_ASSERT(p.bytes <= kPartitionBytesMax);
    RC_ASSERT(p.offset % kAlignment == 0u);
    RC_ASSERT(p.offset == l.segments()[p.segment_first].offset);
    for (std::uint32_t s = p.segment_first; s < p.segment_last; ++s) {
      const Segment& segment = l.segments()[s];
      RC_ASSERT(l.bucket_of(segment.parameter) == p.bucket);
      RC_ASSERT(l.parameters()[segment.parameter].dtype == p.dtype);
      RC_ASSERT(segment.offset == l.offset(segment.parameter) + next[segment.parameter] * size_of(p.dtype));
      RC_ASSERT(next[segment.parameter] % kBlockElements == 0u);
      RC_ASSERT(segment.elements > 0u);
      next[segment.parameter] += segment.elements;
      blocks += (segment.elements + kBlockElements - 1) / kBlockElements;
      RC_ASSERT(segment.offset + segment.elements * size_of(p.dtype) <= p.offset + p.bytes);
    }
  }
  for (std::size_t p = 0; p < next.size(); ++p) RC_ASSERT(next[p] == (l.bucket_of(p) < 0 ? 0 : l.elements(p)));
  if (blocks >= kPartitionsMin) RC_ASSERT(l.partitions().size() >= kPartitionsMin);
  else RC_ASSERT(l.partitions().size() == blocks);
}

RC_GTEST_PROP(Layout, AWholeParameterIsInOnePieceAndTheRestIsCutAsBefore, ()) {
  const Layout l = random_layout(true);
  std::vector<std::uint64_t> next(l.parameters().size(), 0);
  for (const Partition& p : l.partitions()) {
    for (std::uint32_t s = p.segment_first; s < p.segment_last; ++s) {
      const Segment& segment = l.segments()[s];
      RC_ASSERT(segment.offset == l.offset(segment.parameter) + next[segment.parameter] * size_of(p.dtype));
      next[segment.parameter] += segment.elements;
      if (l.parameters()[segment.parameter].whole) RC_ASSERT(segment.elements == l.elements(segment.parameter));
      RC_ASSERT(segment.offset + segment.elements * size_of(p.dtype) <= p.offset + p.bytes);
    }
    const bool of_one_whole =
        p.segment_last == p.segment_first + 1 && l.parameters()[l.segments()[p.segment_first].parameter].whole;
    if (!of_one_whole) RC_ASSERT(p.bytes <= kPartitionBytesMax);
  }
  for (std::size_t p = 0; p < next.size(); ++p) RC_ASSERT(next[p] == (l.bucket_of(p) < 0 ? 0 : l.elements(p)));
}

TEST(Layout, AWholeParameterThatDoesNotFitBeginsAPartition) {
  std::vector<ParameterSpec> parameters;  // 72 blocks, so that a partition has at most 4 of those that may be cut
  for (int i = 0; i < 12; ++i) {
    parameters.push_back(spec("small" + std::to_string(i), {1024}));
    parameters.push_back(spec("whole" + std::to_string(i), {5, 1024}));
    parameters.back().whole = true;
  }
  const Layout l = make(std::move(parameters));
  EXPECT_EQ(l.segments().size(), 24u) << "one each";
  EXPECT_EQ(l.partitions().size(), 24u);
}

TEST(Layout, AWholeParameterOfAnySizeIsOnePartition) {
  ParameterSpec large = spec("w", {3000, 1024});  // 12 MB
  large.whole = true;
  const Layout l = make({large, spec("b", {10})});
  ASSERT_EQ(l.partitions().size(), 2u);
  EXPECT_EQ(l.partitions()[0].bytes, 3000u * 1024 * 4);
  large.shape = {1 << 20, 1025};
  EXPECT_NE(Layout::of({large}).status().message().find("larger than 4 GiB"), std::string::npos);
  EXPECT_NE(l.hash(), make({spec("w", {3000, 1024}), spec("b", {10})}).hash());
}

RC_GTEST_PROP(Layout, BucketsAndParametersDoNotOverlap, ()) {
  const Layout l = random_layout();
  std::uint64_t end = 0;
  for (std::size_t p = 0; p < l.parameters().size(); ++p) {
    RC_ASSERT(l.offset(p) % kAlignment == 0u);
    RC_ASSERT(l.offset(p) >= end);
    end = l.offset(p) + l.bytes(p);
  }
  RC_ASSERT(end <= l.bytes());
  std::int32_t partition = 0;
  for (const Bucket& bucket : l.buckets()) {
    RC_ASSERT(bucket.partition_first == partition);
    partition = bucket.partition_last;
    for (std::int32_t p = bucket.partition_first; p < bucket.partition_last; ++p) {
      RC_ASSERT(l.partitions()[p].offset >= bucket.offset);
      RC_ASSERT(l.partitions()[p].offset + l.partitions()[p].bytes <= bucket.offset + bucket.bytes);
    }
    const bool several = bucket.parameter_last - bucket.parameter_first > 1;
    for (std::int32_t p = bucket.parameter_first; p < bucket.parameter_last && several; ++p)
      RC_ASSERT(l.bytes(p) < kLargeBytes);
  }
  RC_ASSERT(partition == static_cast<std::int32_t>(l.partitions().size()));
}

RC_GTEST_PROP(Layout, DecodesWhatItEncodes, ()) {
  const Layout l = random_layout(true);
  std::vector<std::byte> bytes;
  Writer writer(bytes);
  l.encode(writer);
  Reader reader(bytes);
  Result<Layout> back = Layout::decode(reader);
  RC_ASSERT(back.ok() && reader.done());
  RC_ASSERT(back->hash() == l.hash());
  RC_ASSERT(std::ranges::equal(back->parameters(), l.parameters()));
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    Reader cut(ConstBytes(bytes).first(n));
    RC_ASSERT(Layout::decode(cut).status().code() == Code::corrupt);
  }
}

TEST(Layout, HashTellsModelsApart) {
  std::set<std::uint64_t> hashes;
  hashes.insert(make({spec("a", {2, 3})}).hash());
  hashes.insert(make({spec("b", {2, 3})}).hash());
  hashes.insert(make({spec("a", {3, 2})}).hash());
  hashes.insert(make({spec("a", {2, 3}, DType::float64)}).hash());
  hashes.insert(make({spec("a", {2, 3}, DType::float32, false)}).hash());
  hashes.insert(make({}).hash());
  EXPECT_EQ(hashes.size(), 6u);
  EXPECT_EQ(hashes.count(0), 0u);
}

TEST(Layout, RefusesWhatCannotBe) {
  constexpr std::int64_t kHuge = std::int64_t{1} << 40;
  EXPECT_EQ(Layout::of({spec("a", {1}), spec("a", {2})}).status().message(), "parameter a: the name is there twice");
  EXPECT_EQ(Layout::of({spec("a", {2, -1})}).status().code(), Code::invalid);
  EXPECT_EQ(Layout::of({spec("a", {kHuge, kHuge})}).status().code(), Code::invalid);
  EXPECT_EQ(Layout::of({spec("a", {kHuge}), spec("b", {kHuge})}).status().code(), Code::invalid);
  EXPECT_TRUE(Layout::of({spec("a", {kHuge, kHuge, 0})}).ok());
}

RC_GTEST_PROP(Owners, AreContiguousInEachBucketAndBalanced, ()) {
  const Layout l = random_layout(*rc::gen::arbitrary<bool>());
  const int owners = *rc::gen::inRange(1, 9);
  const std::vector<std::int32_t> owner = assign_owners(l, owners);
  RC_ASSERT(owner.size() == l.partitions().size());
  std::vector<std::uint64_t> loads(owners, 0);
  std::uint64_t total = 0, largest = 0;
  for (const Bucket& bucket : l.buckets()) {
    std::set<std::int32_t> left;  // owners whose piece of this bucket has ended
    for (std::int32_t p = bucket.partition_first; p < bucket.partition_last; ++p) {
      RC_ASSERT(owner[p] >= 0 && owner[p] < owners);
      RC_ASSERT(left.count(owner[p]) == 0u);
      if (p + 1 < bucket.partition_last && owner[p + 1] != owner[p]) left.insert(owner[p]);
      loads[owner[p]] += l.partitions()[p].bytes;
      total += l.partitions()[p].bytes;
      largest = std::max(largest, l.partitions()[p].bytes);
    }
  }
  RC_ASSERT(*std::ranges::max_element(loads) <= total / owners + 2 * largest);
}

TEST(Owners, ShareOneBucketEvenly) {
  const Layout l = make({spec("w", {1024, 1024})});
  const std::vector<std::int32_t> owner = assign_owners(l, 4);
  EXPECT_EQ(owner.size(), 16u);
  EXPECT_TRUE(std::ranges::is_sorted(owner));
  for (int o = 0; o < 4; ++o) EXPECT_EQ(std::ranges::count(owner, o), 4);
}

}  // namespace
}  // namespace cohaul::update
