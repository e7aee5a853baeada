#include "cohaul/data/accuracy.h"

#include <ATen/ops/argmax.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/sum.h>

namespace cohaul::data {

double correct(const at::Tensor& logits, const at::Tensor& target) {
  return static_cast<double>(at::sum(at::eq(at::argmax(logits, 1), target)).item<std::int64_t>());
}

}  // namespace cohaul::data
