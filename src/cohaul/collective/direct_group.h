#pragma once
// The direct exchange: every rank sends each owner its piece of the data, the owner sums in tree order and sends the sum
// to all. As many bytes as a ring, one step instead of size−1, and any order of arrival. Over any kind of channel.

#include <memory>

#include "cohaul/collective/group.h"
#include "cohaul/collective/links.h"

namespace cohaul::collective {

/// Makes the group. `links` must outlive it, and nothing else may use it meanwhile.
std::unique_ptr<Group> make_direct_group(Links& links);

/// Elements [begin, end) of n that `rank` of `size` owns.
struct Piece {
  std::size_t begin, end;
};
Piece piece_of(std::size_t n, int rank, int size);

}  // namespace cohaul::collective
