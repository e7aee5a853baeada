#include "cohaul/update/block_ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cohaul/update/block_ops.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "cohaul/update/elementwise-inl.h"

HWY_BEFORE_NAMESPACE();
namespace cohaul::update::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr std::size_t kLanes = 16;

template <class D>
HWY_INLINE hn::Vec<D> load(D d, const double* x) {
  return hn::LoadU(d, x);
}
template <class D>
HWY_INLINE hn::Vec<D> load(D d, const float* x) {
  return hn::PromoteTo(d, hn::LoadU(hn::Rebind<float, D>(), x));
}

template <class T>
HWY_INLINE double squares(const T* x, std::size_t n) {
  const hn::CappedTag<double, 8> d;  // of at most 8, so that 16 lanes are at least two vectors
  const std::size_t width = hn::Lanes(d);
  alignas(64) double lanes[kLanes] = {};
  std::size_t i = 0;
  const auto add = [&](auto sum, std::size_t at) {
    const auto v = load(d, x + at);
    return hn::Add(sum, hn::Mul(v, v));
  };
  if (width == 8 || width == 4) {
    // Four vectors at a time hide the latency of an addition; with eight lanes a vector they are two and two.
    const std::size_t vectors = kLanes / width;
    auto a = hn::Zero(d), b = hn::Zero(d), c = hn::Zero(d), e = hn::Zero(d);
    for (; i + kLanes <= n; i += kLanes) {
      a = add(a, i), b = add(b, i + width);
      if (vectors == 4) c = add(c, i + 2 * width), e = add(e, i + 3 * width);
    }
    hn::StoreU(a, d, lanes), hn::StoreU(b, d, lanes + width);
    if (vectors == 4) hn::StoreU(c, d, lanes + 2 * width), hn::StoreU(e, d, lanes + 3 * width);
  }
  for (; i < n; ++i) {
    const auto v = static_cast<double>(x[i]);
    lanes[i % kLanes] += v * v;
  }
  for (std::size_t step = 1; step < kLanes; step *= 2)
    for (std::size_t k = 0; k < kLanes; k += 2 * step) lanes[k] += lanes[k + step];
  return lanes[0];
}

double squares_float(const float* x, std::size_t n) { return squares(x, n); }
double squares_double(const double* x, std::size_t n) { return squares(x, n); }

template <class T>
struct Scale {
  const T* x;
  T* out;
  T factor, limit;
  template <class D>
  HWY_INLINE void operator()(D d, std::size_t i) const {
    auto v = hn::Mul(hn::LoadU(d, x + i), hn::Set(d, factor));
    if (limit > 0) {
      // Clamps by comparison, which is false for NaN, so NaN stays NaN.
      const auto high = hn::Set(d, limit), low = hn::Set(d, -limit);
      v = hn::IfThenElse(hn::Gt(v, high), high, v);
      v = hn::IfThenElse(hn::Lt(v, low), low, v);
    }
    hn::StoreU(v, d, out + i);
  }
};

void scale_float(const float* x, float* out, std::size_t n, double factor, double limit) {
  for_each_element<float>(n, Scale<float>{x, out, static_cast<float>(factor), static_cast<float>(limit)});
}
void scale_double(const double* x, double* out, std::size_t n, double factor, double limit) {
  for_each_element<double>(n, Scale<double>{x, out, factor, limit});
}

template <class T>
struct MoveAverage {
  const T* __restrict x;
  T* __restrict average;
  T weight;
  template <class D>
  HWY_INLINE void operator()(D d, std::size_t i) const {
    const auto before = hn::LoadU(d, average + i);
    const auto way = hn::Sub(hn::LoadU(d, x + i), before);
    hn::StoreU(hn::Add(before, hn::Mul(hn::Set(d, weight), way)), d, average + i);
  }
};

void move_average_float(const float* x, float* average, std::size_t n, double weight) {
  for_each_element<float>(n, MoveAverage<float>{x, average, static_cast<float>(weight)});
}
void move_average_double(const double* x, double* average, std::size_t n, double weight) {
  for_each_element<double>(n, MoveAverage<double>{x, average, weight});
}

}  // namespace cohaul::update::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace cohaul::update {
namespace {

HWY_EXPORT(squares_float);
HWY_EXPORT(squares_double);
HWY_EXPORT(scale_float);
HWY_EXPORT(scale_double);
HWY_EXPORT(move_average_float);
HWY_EXPORT(move_average_double);

}  // namespace

double squares(const float* x, std::size_t n) { return HWY_DYNAMIC_DISPATCH(squares_float)(x, n); }
double squares(const double* x, std::size_t n) { return HWY_DYNAMIC_DISPATCH(squares_double)(x, n); }
void scale(const float* x, float* out, std::size_t n, double factor, double limit) {
  HWY_DYNAMIC_DISPATCH(scale_float)(x, out, n, factor, limit);
}
void scale(const double* x, double* out, std::size_t n, double factor, double limit) {
  HWY_DYNAMIC_DISPATCH(scale_double)(x, out, n, factor, limit);
}
void move_average(const float* x, float* average, std::size_t n, double weight) {
  HWY_DYNAMIC_DISPATCH(move_average_float)(x, average, n, weight);
}
void move_average(const double* x, double* average, std::size_t n, double weight) {
  HWY_DYNAMIC_DISPATCH(move_average_double)(x, average, n, weight);
}

}  // namespace cohaul::update
#endif
