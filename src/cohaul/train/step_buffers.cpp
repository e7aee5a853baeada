#include "cohaul/train/step_buffers.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstring>

#include "cohaul/base/hash.h"
#include "cohaul/update/mean.h"

namespace cohaul::train {
namespace {

bool same_bytes(const std::byte* a, const std::byte* b, std::size_t n) { return n == 0 || std::memcmp(a, b, n) == 0; }

template <class T>
void mean_of(std::byte* left, std::int32_t left_slices, const std::byte* right, std::int32_t right_slices,
             std::uint64_t bytes) {
  auto* l = reinterpret_cast<T*>(left);
  update::mean_of(l, left_slices, reinterpret_cast<const T*>(right), right_slices, l, bytes / sizeof(T));
}

}  // namespace

StepBuffers::StepBuffers(Buffers policy, const update::Layout& layout, const NamedTensors& buffers,
                         update::Exchange& exchange, Bytes small, bool several)
    : layout_(layout), exchange_(exchange), small_(small), several_(several) {
  if (policy == Buffers::own || buffers.empty()) return;
  auto index = static_cast<std::int32_t>(layout.parameters().size() - buffers.size());
  first_offset_ = layout.offset(index);
  bytes_ = layout.bytes() - first_offset_;
  for (const auto& [name, tensor] : buffers) {
    Entry& e = entries_.emplace_back();
    e.name = name;
    e.tensor = tensor;
    e.offset = layout.offset(index);
    e.bytes = tensor.nbytes();
    e.dtype = layout.parameters()[static_cast<std::size_t>(index)].dtype;
    e.bucket = layout.bucket_of(index);
    if (e.bucket >= 0) e.index = index - layout.buckets()[static_cast<std::size_t>(e.bucket)].parameter_first;
    ++index;
  }
  first_.resize(bytes_);
  now_.resize(bytes_);
  remember();
}

Status StepBuffers::read(std::byte* to) const {
  for (const Entry& e : entries_) {
    if (e.tensor.nbytes() != e.bytes)
      return invalid("buffer " + e.name + " has another size than it had when the trainer was made");
    const at::Tensor values = e.tensor.detach().contiguous();
    if (e.bytes > 0) std::memcpy(of(to, e), values.const_data_ptr(), e.bytes);
  }
  return {};
}

void StepBuffers::write(const Entry& e, const std::byte* from) const {
  const at::Tensor present = e.tensor.detach().contiguous();
  if (same_bytes(static_cast<const std::byte*>(present.const_data_ptr()), from, e.bytes)) return;
  at::NoGradGuard no_grad;
  at::Tensor values = at::empty(e.tensor.sizes(), e.tensor.options().requires_grad(false));
  std::memcpy(values.mutable_data_ptr(), from, e.bytes);
  e.tensor.copy_(values);
}

void StepBuffers::remember() {
  // end_slice() reports a buffer of another size.
  if (!several_ || entries_.empty() || !read(first_.data()).ok()) return;
  for (Entry& e : entries_) {
    e.data = e.tensor.numel() > 0 ? e.tensor.const_data_ptr() : nullptr;
    e.was_replaced = false;
  }
}

/// Follows a buffer that was replaced after remember() and before the first slice: slices start from its present value, unless the forward has
/// changed it.
Status StepBuffers::follow_replaced() {
  for (Entry& e : entries_) {
    const bool replaced = e.tensor.numel() > 0 && e.tensor.const_data_ptr() != e.data;
    if (e.was_replaced && !same_bytes(of(now_.data(), e), of(first_.data(), e), e.bytes))
      return invalid(
          "buffer " + e.name +
          " was replaced, as torch::load does, after the step's first slice had begun, so that the others do "
          "not know what to start from: load in trainer.write(), or between the steps of batches()");
    if (!replaced) continue;
    std::memcpy(of(first_.data(), e), of(now_.data(), e), e.bytes);
    e.data = e.tensor.const_data_ptr();
    e.was_replaced = true;
  }
  return {};
}

void StepBuffers::begin(const std::vector<update::SliceRange>& parts) {
  if (entries_.empty()) return;
  parts_ = parts;
  part_ = 0;
  slice_ = parts.front().first;
  fold_ = {};
}

StepBuffers::Mean StepBuffers::combine(Mean left, const Mean& right) const {
  for (const Entry& e : entries_) {
    if (e.bucket < 0 || layout_.buckets()[static_cast<std::size_t>(e.bucket)].reduce != update::Reduce::mean) continue;
    std::byte* l = of(left.values.data(), e);
    const std::byte* r = of(right.values.data(), e);
    if (e.dtype == DType::float32) mean_of<float>(l, left.slices, r, right.slices, e.bytes);
    else mean_of<double>(l, left.slices, r, right.slices, e.bytes);
  }
  left.slices += right.slices;
  return left;
}

/// Compares the counters of the slice whose values are in now_ with those of earlier slices.
Status StepBuffers::compare_counters() {
  const bool is_first = slice_ == parts_.front().first;
  std::uint64_t h = 0;
  for (const Entry& e : entries_) {
    if (e.bucket >= 0) continue;
    h = hash64({of(now_.data(), e), e.bytes}, h);
    if (!is_first && !same_bytes(of(now_.data(), e), of(counted_.data(), e), e.bytes))
      return invalid(
          "buffer " + e.name + " is not the same after slice " + std::to_string(slice_) +
          " as after the slices before it: what is no float of 32 or 64 bits has no mean, so all slices "
          "must leave the same. Use the layer in all of them, or choose TrainerOptions::buffers worker0 or own");
  }
  counters_ = h;
  if (is_first && several_) counted_ = now_;
  return {};
}

Status StepBuffers::end_slice(bool more, double samples) {
  if (entries_.empty()) return {};
  COHAUL_TRY(read(now_.data()));
  if (several_) COHAUL_TRY(follow_replaced());
  COHAUL_TRY(compare_counters());
  const update::SliceRange& part = parts_[part_];
  const auto combined = [this](Mean left, const Mean& right) { return combine(std::move(left), right); };
  if (part.size() > 1) fold_.add(Mean{now_}, combined);
  if (++slice_ == part.last) {
    if (part.size() > 1) now_ = fold_.take(combined)->values;
    COHAUL_TRY(push(now_.data(), samples));
    ++part_;
  }
  if (more)
    for (const Entry& e : entries_) write(e, of(first_.data(), e));
  return {};
}

/// Pushes the part's buckets of buffers. A buffer that has not changed counts as absent.
Status StepBuffers::push(const std::byte* values, double samples) {
  const Bytes place = place_of_part();
  const std::byte* before = exchange_.parameters().data();
  for (std::size_t r = 0; r < layout_.buckets().size(); ++r) {
    const update::Bucket& bucket = layout_.buckets()[r];
    if (bucket.reduce == update::Reduce::update) continue;
    const bool counts = bucket.reduce == update::Reduce::mean || parts_[part_].first == 0;
    const auto n = static_cast<std::size_t>(bucket.parameter_last - bucket.parameter_first);
    std::vector<std::byte> absent;
    std::size_t absent_count = 0;
    for (const Entry& e : entries_) {
      if (e.bucket != static_cast<std::int32_t>(r)) continue;
      if (counts && !same_bytes(of(values, e), before + e.offset, e.bytes)) {
        std::memcpy(place.data() + e.offset, of(values, e), e.bytes);
      } else {
        update::set_absent(absent, static_cast<std::size_t>(e.index), n);
        ++absent_count;
      }
    }
    const ConstBytes bytes = absent_count == n ? ConstBytes() : ConstBytes(place.subspan(bucket.offset, bucket.bytes));
    COHAUL_TRY(
        exchange_.push({static_cast<std::int32_t>(part_), static_cast<std::int32_t>(r), bytes, absent, samples}));
  }
  return {};
}

void StepBuffers::take() {
  const std::byte* flat = exchange_.parameters().data();
  for (const Entry& e : entries_)
    if (e.bucket >= 0 && e.bytes > 0) write(e, flat + e.offset);
  parts_.clear();
  remember();
}

void StepBuffers::restart() {
  if (parts_.empty() || slice_ == parts_.front().first) return;
  for (const Entry& e : entries_) write(e, of(first_.data(), e));
}

void StepBuffers::abandon() {
  fold_ = {};
  parts_.clear();
}

std::uint64_t StepBuffers::hash() const {
  std::uint64_t h = 0;
  for (const Entry& e : entries_) {
    const at::Tensor values = e.tensor.detach().contiguous();
    h = hash64({static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()}, h);
  }
  return h;
}

void StepBuffers::put() {
  std::byte* flat = exchange_.parameters().data();
  for (const Entry& e : entries_) {
    const at::Tensor values = e.tensor.detach().contiguous();
    if (e.bytes > 0) std::memcpy(flat + e.offset, values.const_data_ptr(), e.bytes);
  }
}

std::string StepBuffers::counters_text() const {
  std::string out;
  for (const Entry& e : entries_) {
    if (e.bucket >= 0) continue;
    const at::Tensor values = e.tensor.detach().contiguous();
    out.append(static_cast<const char*>(values.const_data_ptr()), e.bytes);
  }
  return out;
}

void StepBuffers::set_counters(const std::string& text) {
  std::size_t at = 0;
  for (const Entry& e : entries_) {
    if (e.bucket >= 0 || at + e.bytes > text.size()) continue;
    write(e, reinterpret_cast<const std::byte*>(text.data()) + at);
    at += e.bytes;
  }
}

std::string StepBuffers::counter_facts() const {
  std::string out;
  for (const Entry& e : entries_) {
    if (e.bucket >= 0) continue;
    const at::Tensor values = e.tensor.detach().contiguous();
    const auto* data = static_cast<const std::byte*>(values.const_data_ptr());
    const bool number = values.numel() == 1 && values.scalar_type() == at::kLong;
    out += "buffer " + e.name + "=" +
           (number ? std::to_string(values.item<std::int64_t>()) : "#" + std::to_string(hash64({data, e.bytes}))) +
           "\n";
  }
  return out;
}

}  // namespace cohaul::train
