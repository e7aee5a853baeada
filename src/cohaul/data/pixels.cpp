#include "cohaul/data/pixels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cohaul/data/pixels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace cohaul::data::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// x / 255 without dividing: kHead has 16 significant bits, so x · kHead is exact, and the sum is rounded to the same value as the quotient (a test
// compares all 256 values).
constexpr float kHead = 0x1.010p-8f;
constexpr float kTail = static_cast<float>(1.0 / 255.0 - kHead);

template <class D>
HWY_INLINE void scale(D d, const std::uint8_t* HWY_RESTRICT in, float* HWY_RESTRICT out) {
  const hn::Rebind<std::uint8_t, D> bytes;
  const hn::RebindToSigned<D> integers;
  const auto x = hn::ConvertTo(d, hn::PromoteTo(integers, hn::LoadU(bytes, in)));
  hn::StoreU(hn::Add(hn::Mul(x, hn::Set(d, kHead)), hn::Mul(x, hn::Set(d, kTail))), d, out);
}

void scale_all(const std::uint8_t* HWY_RESTRICT in, float* HWY_RESTRICT out, std::size_t n) {
  const hn::ScalableTag<float> whole;
  const hn::CappedTag<float, 1> single;
  const std::size_t lanes = hn::Lanes(whole);
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) scale(whole, in + i, out + i);
  for (; i < n; ++i) scale(single, in + i, out + i);
}

}  // namespace cohaul::data::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <hwy/cache_control.h>

namespace cohaul::data {
namespace {

HWY_EXPORT(scale_all);

constexpr std::size_t kLine = 64;

}  // namespace

void scale_pixels(std::span<const std::uint8_t> in, float* out) {
  HWY_DYNAMIC_DISPATCH(scale_all)(in.data(), out, in.size());
}

void prefetch_pixels(std::span<const std::uint8_t> image) {
  for (std::size_t at = 0; at < image.size(); at += kLine) hwy::Prefetch(image.data() + at);
}

}  // namespace cohaul::data
#endif
