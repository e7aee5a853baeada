#pragma once
// The plan of an all-reduce: which rank owns, sums and passes on what. It is a pure function of layout, hosts and slices.
//
// Data crosses between two hosts once. Of a portion that a rank of another host owns, the ranks of a host send their parts to one of them, which sends
// the owner one gradient for each complete subtree of slices that the host has. One rank of the host gets the new parameters, for all. Within a host
// every rank sends its part to the owner. So where there is one host, or one rank on each, no rank sums for others.

#include <cstdint>
#include <span>
#include <vector>

#include "cohaul/base/ids.h"
#include "cohaul/update/absent.h"
#include "cohaul/update/layout.h"
#include "cohaul/update/slices.h"

namespace cohaul::collective {

/// The partitions of one bucket that one rank owns: [first, last), and their bytes in the flat area.
struct Portion {
  std::int32_t first = 0, last = 0;
  std::uint64_t offset = 0, bytes = 0;
  std::int32_t parameter_first = 0, parameter_last = 0;  // of which it has elements, counted in the bucket
  bool empty() const { return first == last; }
  /// Returns whether all parameters of which it has elements are absent.
  bool is_all_absent(update::AbsentMask absent) const {
    for (std::int32_t p = parameter_first; p < parameter_last; ++p)
      if (!update::is_absent(absent, static_cast<std::size_t>(p))) return false;
    return true;
  }
};

/// One of the gradients that make up an owner's sum: a part of a rank, or the sum that another host has for a
/// complete subtree.
struct Term {
  update::SliceRange slices;
  std::int32_t part_first = 0, part_last = 0;          // of ReducePlan::parts
  std::int32_t position_first = 0, position_last = 0;  // whose parts they are
  bool is_sum() const { return part_last - part_first > 1; }
};

/// A sum that a rank makes for an owner on another host.
struct HostSum {
  std::int32_t bucket = 0;
  int owner = 0;
  std::int32_t term = 0;     // in terms_of(owner)
  std::int32_t slot = 0;     // of its first part
  std::uint64_t offset = 0;  // of its place among all sums of this rank
};

/// The plan as one rank sees it.
struct ReducePlan {
  /// hosts: by rank, equal where they share memory; empty: one for all. shared: the ranks of a host share one copy of the parameters.
  ReducePlan(const update::Layout& layout, int rank, int ranks, std::int32_t slices, std::span<const int> hosts = {},
             bool shared = false);

  const Portion& portion(std::size_t bucket, int of) const {
    return portions[bucket * static_cast<std::size_t>(ranks) + of];
  }
  const Portion& mine(std::size_t bucket) const { return portion(bucket, rank); }
  bool owns(int of, PartitionId partition) const { return owners[static_cast<std::size_t>(partition.value)] == of; }
  std::int32_t parts_of(int of) const { return part_last[of] - part_first[of]; }
  std::vector<PartitionId> partitions() const;  // that this rank owns
  bool is_near(int other) const { return host[other] == host[rank]; }

  /// Returns the terms of the sum of a portion of `owner`'s. They ascend and cover all slices.
  const std::vector<Term>& terms_of(int owner) const { return terms[host[owner]]; }
  /// Returns the term that `part` is in.
  const Term& term_of(int owner, std::int32_t part) const { return terms_of(owner)[term_index[host[owner]][part]]; }
  /// Returns the rank that sends the owner that term of its portion of a bucket.
  int sender(std::size_t bucket, int owner, const Term& term) const {
    return dealt(bucket, owner, term.position_first, term.position_last);
  }
  /// Returns the rank to which the one that has `part` sends it.
  int next(std::size_t bucket, int owner, std::int32_t part) const {
    const Term& term = term_of(owner, part);
    return term.is_sum() ? sender(bucket, owner, term) : owner;
  }
  /// Returns the rank that gets the new parameters of the owner's portion for a host other than the owner's.
  int relay(std::size_t bucket, int owner, std::int32_t of) const {
    return dealt(bucket, owner, host_first[of], host_first[of + 1]);
  }
  /// Returns the rank that tells `to` of the new parameters of the owner's portion.
  int teller(std::size_t bucket, int owner, int to) const;
  /// Returns the rank that gives rank `to`, which is not 0, the parameters of rank 0.
  int spreader(int to) const;

  /// Says where this rank keeps the gradient of a part, or the sum that it is in. slot -1: this rank does not sum it.
  struct Target {
    std::int32_t slot = -1;
    std::int32_t sum = -1;  // that it is of; -1: of a portion that this rank owns
  };
  Target target(std::size_t bucket, int owner, std::int32_t part) const;

  const int rank, ranks;
  const std::vector<std::int32_t> owners;             // by partition: the rank that owns it
  std::vector<Portion> portions;                      // by bucket, then rank
  std::vector<std::int32_t> owned;                    // buckets of which this rank owns a portion
  std::vector<std::int32_t> owned_index;              // by bucket: its place in `owned`; -1
  std::vector<std::int32_t> buckets_owned;            // by rank: how many buckets it owns a portion of
  std::vector<std::int32_t> host;                     // by rank: its host, counted in the order of positions
  std::vector<std::int32_t> position;                 // by rank
  std::vector<int> rank_at;                           // by position
  std::vector<std::int32_t> host_first;               // by host, and one more at the end: its first position
  std::vector<update::SliceRange> slices;             // by rank
  std::vector<update::SliceRange> parts;              // of all ranks: ascending, they cover all slices
  std::vector<int> holder;                            // by part: the rank that has it
  std::vector<std::int32_t> part_first, part_last;    // by rank: its own in `parts`
  std::vector<std::vector<Term>> terms;               // by host of the owner
  std::vector<std::vector<std::int32_t>> term_index;  // by host of the owner, then part
  std::vector<HostSum> sums;                          // that this rank makes, by bucket, then owner
  std::int32_t slots = 0;       // gradients that this rank keeps in a step: by owned bucket and term, then of `sums`
  std::uint64_t sum_bytes = 0;  // of all `sums`
  std::vector<std::int32_t> gradients;  // by rank: parts that it sends this one in a step
  std::vector<std::int32_t> sums_from;  // by rank: sums that it sends this one in a step
  std::int32_t sums_due = 0;            // of all ranks
  std::vector<std::uint8_t> has_facts;  // by rank: it owns a portion or makes a sum, so that it has facts of gradients
  std::vector<std::int32_t> portions_told;  // by rank: portions of which it tells this rank with their values
  std::vector<std::uint8_t> writes;  // by rank: it writes into the copy of the parameters that it shares with this one

 private:
  int dealt(std::size_t bucket, int owner, std::int32_t first, std::int32_t last) const {
    return rank_at[first + (static_cast<std::int32_t>(bucket) + position[owner]) % (last - first)];
  }
  void set_portions(const update::Layout& layout);
  void set_terms();
  void set_sums();
  void set_tellers(bool shared);
};

}  // namespace cohaul::collective
