#pragma once
// Where every parameter lies, and how the whole is cut: a pure function of the model (names, shapes, types), so that
// every process of a job, with any number of workers and servers, cuts alike.
//
//   parameter  a tensor with a name; starts on 64 bytes in the flat area
//   block      1,024 consecutive elements of one parameter (the last of a parameter may be shorter)
//   bucket     a large parameter alone, or consecutive small ones (< kLargeBytes) of one type, at most kBucketBytesMax and
//              kBucketParametersMax together. The gradient of a bucket is always one contiguous piece of memory: a large one is
//              used where autograd left it, small ones are copied together.
//   partition  consecutive whole blocks of one bucket, at most 4 MB; at least 16 partitions where there are 16 blocks.
//              The unit that an owner (a rank, a server) owns. A parameter whose rule needs norms over all of it is never cut:
//              it lies in one partition, however large.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cohaul/base/align.h"
#include "cohaul/base/bytes.h"
#include "cohaul/base/dtype.h"
#include "cohaul/base/ids.h"
#include "cohaul/base/limits.h"
#include "cohaul/base/status.h"
#include "cohaul/update/absent.h"

namespace cohaul::update {

constexpr std::size_t kBlockElements = 1024;
constexpr std::size_t kPartitionsMin = 16;
constexpr std::size_t kLargeBytes = 64 << 10;  // of one parameter

/// What an owner does with what workers send for an entry. update: gradients, which it sums and gives to the rule.
/// mean: values of a buffer after each slice, whose mean it keeps. first: the same, of which it keeps slice 0's.
enum class Reduce : std::uint8_t { update, mean, first };

struct ParameterSpec {
  std::string name;
  std::vector<std::int64_t> shape;
  DType dtype = DType::float32;
  bool trainable = true;   // frozen ones have a place, and no partition
  std::int32_t group = 0;  // of the optimizer's, whose rule updates it
  Reduce reduce = Reduce::update;
  bool whole = false;  // it is not cut, since its rule needs all of it at one owner
  bool operator==(const ParameterSpec&) const = default;
};

/// A piece of one parameter inside one partition.
struct Segment {
  std::int32_t parameter;  // index into Layout::parameters()
  std::uint64_t offset;    // bytes in the flat area
  std::uint64_t elements;
};

struct Partition {
  std::int32_t bucket;
  DType dtype;
  std::uint64_t offset;                       // bytes in the flat area: first byte of the first segment
  std::uint64_t bytes;                        // up to the end of the last segment, padding between segments included
  std::uint32_t segment_first, segment_last;  // [first, last) of Layout::segments()
};

struct Bucket {
  std::int32_t parameter_first, parameter_last;  // [first, last)
  std::int32_t partition_first, partition_last;  // [first, last)
  DType dtype;
  Reduce reduce;
  std::uint64_t offset, bytes;  // in the flat area, like Partition's
};

class Layout {
 public:
  /// Errors: invalid (a repeated name, a negative or overflowing size, a group below 0, a whole parameter beyond kWholeBytesMax).
  static Result<Layout> of(std::vector<ParameterSpec> parameters);

  std::span<const ParameterSpec> parameters() const { return parameters_; }
  std::span<const Segment> segments() const { return segments_; }
  std::span<const Partition> partitions() const { return partitions_; }
  std::span<const Bucket> buckets() const { return buckets_; }
  /// A parameter's offset in the flat area and its length, both in bytes; its number of elements.
  std::uint64_t offset(std::int32_t parameter) const { return offsets_[parameter]; }
  std::uint64_t bytes(std::int32_t parameter) const;
  std::uint64_t elements(std::int32_t parameter) const;
  /// Returns the bucket of a trainable parameter; -1 for a frozen one.
  std::int32_t bucket_of(std::int32_t parameter) const { return bucket_of_[parameter]; }
  /// Returns whether it has gradients, and a rule updates it.
  bool is_trained(std::int32_t parameter) const {
    return bucket_of_[parameter] >= 0 && parameters_[parameter].reduce == Reduce::update;
  }
  /// Returns whether the partition is of buffers, which are no part of gradients, norm or rule.
  bool is_of_buffers(PartitionId partition) const {
    return buckets_[partitions_[partition.value].bucket].reduce != Reduce::update;
  }
  bool has_buffers() const { return has_buffers_; }
  /// Returns whether all parameters that the partition has elements of are absent in its bucket's mask.
  bool is_all_absent(const Partition& partition, AbsentMask absent) const {
    const std::int32_t first = buckets_[partition.bucket].parameter_first;
    for (std::uint32_t s = partition.segment_first; s < partition.segment_last; ++s)
      if (!is_absent(absent, static_cast<std::size_t>(segments_[s].parameter - first))) return false;
    return true;
  }
  /// Size of the flat area, a multiple of 64.
  std::uint64_t bytes() const { return bytes_; }
  /// Returns one more than the largest group of a parameter; at least 1.
  std::int32_t groups() const { return groups_; }
  /// Returns a hash of names, shapes, types, groups and flags: two processes with equal hashes cut alike.
  std::uint64_t hash() const { return hash_; }

  void encode(Writer& out) const;
  /// Errors: corrupt.
  static Result<Layout> decode(Reader& in);

 private:
  Status place();  // offsets and sizes
  void find_buckets();
  void cut(std::int32_t bucket, std::uint64_t blocks_max);  // into partitions of at most so many blocks

  std::vector<ParameterSpec> parameters_;
  std::vector<std::uint64_t> offsets_, elements_;
  std::vector<std::int32_t> bucket_of_;
  std::vector<Segment> segments_;
  std::vector<Partition> partitions_;
  std::vector<Bucket> buckets_;
  std::uint64_t bytes_ = 0, hash_ = 0;
  std::int32_t groups_ = 1;
  bool has_buffers_ = false;
};

/// Returns the owner of each partition among `owners`, contiguous within each bucket and balanced in bytes over all of
/// them.
std::vector<std::int32_t> assign_owners(const Layout& layout, int owners);

}  // namespace cohaul::update
