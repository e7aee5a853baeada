#include "cohaul/parallel/split.h"

#include <ATen/ops/empty.h>

#include "cohaul/base/check.h"
#include "cohaul/collective/group.h"

namespace cohaul::parallel {

collective::Buffer buffer(const at::Tensor& t) {
  COHAUL_CHECK(t.is_contiguous() && (t.scalar_type() == at::kFloat || t.scalar_type() == at::kDouble),
               "a tensor that a group can send");
  return {static_cast<std::byte*>(t.mutable_data_ptr()), static_cast<std::size_t>(t.numel()),
          t.scalar_type() == at::kFloat ? DType::float32 : DType::float64};
}

Result<at::Tensor> gather_whole(const at::Tensor& part, const Part& where, collective::Group& group) {
  std::vector<std::int64_t> shape = part.sizes().vec();
  shape[0] = where.whole;
  at::Tensor whole = at::empty(shape, part.options().requires_grad(false));
  whole.narrow(0, where.begin, where.size()).copy_(part.detach());
  for (int rank = 0; rank < group.size(); ++rank) {
    // all_gather would cut the tensor by elements; these parts are cut by rows.
    Part piece = part_of(where.whole, rank, group.size());
    if (piece.size() > 0) COHAUL_TRY(group.broadcast(buffer(whole.narrow(0, piece.begin, piece.size())), rank));
  }
  return whole;
}

}  // namespace cohaul::parallel
