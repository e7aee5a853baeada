#include "cohaul/train/borrowed_model.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <c10/core/CPUAllocator.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "cohaul/base/digits.h"
#include "cohaul/base/hash.h"
#include "cohaul/train/groups.h"
#include "cohaul/update/optimizer_settings.h"

namespace cohaul::train {
namespace {

bool is_trainable_type(const at::Tensor& t) { return t.scalar_type() == at::kFloat || t.scalar_type() == at::kDouble; }

std::string text(const at::Tensor& t) {
  std::string out = std::string(c10::toString(t.scalar_type())) + " [";
  for (std::int64_t d : t.sizes()) out += (out.back() == '[' ? "" : ", ") + std::to_string(d);
  return out + "] on " + t.device().str();
}

/// Gives t the memory and strides of `fresh`, which has its sizes and type. t keeps its values.
void move_to(const at::Tensor& t, const at::Tensor& fresh) {
  at::NoGradGuard no_grad;
  fresh.copy_(t);
  t.unsafeGetTensorImpl()->set_storage_keep_dtype(fresh.storage());
  t.unsafeGetTensorImpl()->set_sizes_and_strides(fresh.sizes(), fresh.strides(), 0);
}

/// Returns whether the tensor's elements fill its whole storage, in some order without gaps.
bool fills_storage(const at::Tensor& t) {
  return t.storage_offset() == 0 && t.is_non_overlapping_and_dense() && t.storage().nbytes() == t.nbytes();
}

at::DataPtr view_of(std::byte* data, const std::shared_ptr<const void>& memory) {
  auto* kept = new std::shared_ptr<const void>(memory);
  return {data, kept, [](void* p) { delete static_cast<std::shared_ptr<const void>*>(p); }, at::Device(at::kCPU)};
}

std::byte* data_of(const at::Tensor& t) {
  return static_cast<std::byte*>(t.storage().unsafeGetStorageImpl()->mutable_data());
}

}  // namespace

Result<std::unique_ptr<BorrowedModel>> BorrowedModel::of(Model model, const std::optional<Optimizer>& optimizer,
                                                         Buffers buffers) {
  std::unique_ptr<BorrowedModel> m(new BorrowedModel(std::move(model)));
  COHAUL_TRY(m->collect(optimizer, buffers));
  return m;
}

std::vector<checkpoint::ParameterEntry> BorrowedModel::entries() const {
  std::vector<checkpoint::ParameterEntry> out;
  for (const Item& item : items_) {
    out.push_back({item.name, item.sizes, item.strides, item.type == at::kDouble ? DType::float64 : DType::float32});
    if (const parallel::SplitParameter* split = model_.split_of(item.name))
      out.back().shape[static_cast<std::size_t>(split->dim)] = split->part.whole;
  }
  return out;
}

BorrowedModel::~BorrowedModel() { give_back(); }

Status BorrowedModel::collect(const std::optional<Optimizer>& optimizer, Buffers buffers) {
  std::vector<update::ParameterSpec> specs;
  std::unordered_map<const at::TensorImpl*, std::size_t> seen;  // index in `names`
  std::vector<std::vector<std::string>> names;                  // all names of each parameter
  std::unordered_set<const at::StorageImpl*> storages;
  for (const auto& [name, t] : model_.parameters) {
    if (!t.defined()) return unsupported("parameter " + name + " is undefined");
    const auto [place, first] = seen.emplace(t.unsafeGetTensorImpl(), names.size());
    if (!first) {  // the parameter is tied
      if (place->second < names.size()) names[place->second].push_back(name);
      continue;
    }
    const bool plain = t.layout() == at::kStrided && t.device().is_cpu();
    if (plain && !is_trainable_type(t) && !t.requires_grad()) {
      buffers_.emplace_back(name, t);
      place->second = SIZE_MAX;
      continue;
    }
    if (!plain || !is_trainable_type(t))
      return unsupported("parameter " + name + " is " + text(t) +
                         ": a trainer takes dense float32 and float64 tensors on the CPU");
    items_.push_back({name, t, t.sizes().vec(), t.strides().vec(), t.scalar_type(), nullptr, 0});
    COHAUL_TRY(may_own_storage(items_.back()));
    own_storage(items_.back());
    items_.back().strides = t.strides().vec();
    if (t.numel() > 0 && !storages.insert(t.storage().unsafeGetStorageImpl()).second)
      return unsupported(
          "parameter " + name +
          " shares its memory with another parameter: tie them by registering the same tensor under both "
          "names, or give it memory of its own with set_data(clone())");
    specs.push_back({name, t.sizes().vec(), t.scalar_type() == at::kFloat ? DType::float32 : DType::float64, true});
    names.push_back({name});
  }
  if (optimizer) COHAUL_TRY(find_rules(*optimizer, names, specs));
  for (const auto& item : model_.buffers)
    if (item.second.defined()) buffers_.push_back(item);
  for (update::ParameterSpec& spec : buffer_specs(buffers)) specs.push_back(std::move(spec));
  COHAUL_ASSIGN(layout_, update::Layout::of(std::move(specs)));
  return {};
}

/// Finds the rule of each parameter. names: of each parameter, all that it has.
Status BorrowedModel::find_rules(const Optimizer& optimizer, std::span<const std::vector<std::string>> names,
                                 std::span<update::ParameterSpec> specs) const {
  COHAUL_ASSIGN(const std::vector<std::int32_t> group_of, assign_groups(names, optimizer.groups));
  COHAUL_ASSIGN(const update::OptimizerSettings settings, optimizer.settings());
  for (std::size_t p = 0; p < specs.size(); ++p) {
    const update::RuleSettings& rule = settings.groups[static_cast<std::size_t>(group_of[p])];
    specs[p].group = group_of[p];
    specs[p].whole = rule.needs_whole_parameters();
    const parallel::SplitParameter* split = model_.split_of(specs[p].name);
    if (specs[p].whole && split && split->part.size() < split->part.whole)
      return unsupported(
          "parameter " + specs[p].name + " is split over the workers, and " + std::string(update::name(rule.kind)) +
          " needs the norm of all of it: put it into a group with trust_ratio = false, or choose another "
          "optimizer or strategy");
  }
  return {};
}

/// Returns the buffers' entries of the layout, in an order in which buffers that are reduced alike are neighbours.
std::vector<update::ParameterSpec> BorrowedModel::buffer_specs(Buffers buffers) {
  const auto has_mean = [&](const at::Tensor& t) { return buffers == Buffers::mean && is_trainable_type(t); };
  std::ranges::stable_partition(buffers_, [&](const auto& b) { return has_mean(b.second); });
  std::vector<update::ParameterSpec> out;
  for (const auto& [name, t] : buffers_) {
    update::ParameterSpec& spec = out.emplace_back();
    spec.name = "buffer " + name;
    if (has_mean(t)) {
      spec.shape = t.sizes().vec();
      spec.dtype = t.scalar_type() == at::kFloat ? DType::float32 : DType::float64;
      spec.reduce = update::Reduce::mean;
    } else {
      // Counted in words of 4 bytes, whatever its type.
      spec.shape = {(static_cast<std::int64_t>(t.nbytes()) + 3) / 4};
      spec.trainable = buffers == Buffers::worker0;
      spec.reduce = spec.trainable ? update::Reduce::first : update::Reduce::update;
    }
  }
  return out;
}

Status BorrowedModel::may_own_storage(const Item& item) const {
  const at::Tensor& t = item.tensor;
  if (t.numel() == 0 || fills_storage(t) || t.storage().use_count() == 1) return {};
  return unsupported("parameter " + item.name +
                     " is a part of another tensor's memory: give it memory of its own with set_data(clone())");
}

/// Gives the parameter a storage of its own that it fills, if it has none.
void BorrowedModel::own_storage(const Item& item) const {
  const at::Tensor& t = item.tensor;
  if (t.numel() == 0 || fills_storage(t)) return;
  move_to(t, at::empty(t.sizes(), t.options().requires_grad(false)));
}

/// Gives a parameter whose memory was replaced the strides that it had, which are the same at all workers.
void BorrowedModel::keep_strides(const Item& item) const {
  const at::Tensor& t = item.tensor;
  own_storage(item);
  if (t.numel() == 0 || t.strides() == item.strides) return;
  move_to(t, at::empty_strided(item.sizes, item.strides, t.options().requires_grad(false)));
}

std::vector<at::Tensor> BorrowedModel::parameters() const {
  std::vector<at::Tensor> out(layout_.parameters().size());
  for (std::size_t i = 0; i < items_.size(); ++i) out[i] = items_[i].tensor;
  return out;
}

std::string BorrowedModel::fingerprint() const {
  std::uint64_t h = layout_.hash();
  for (const Item& item : items_) h = hash64(as_bytes(std::span(item.strides)), h);
  return hex_of(h);
}

std::byte* BorrowedModel::place(std::size_t item) const {
  return flat_.data() + layout_.offset(static_cast<std::int32_t>(item));
}

void BorrowedModel::copy_to(Bytes flat) const {
  for (std::size_t i = 0; i < items_.size(); ++i) {
    const at::Tensor& t = items_[i].tensor;
    keep_strides(items_[i]);
    std::byte* to = flat.data() + layout_.offset(static_cast<std::int32_t>(i));
    if (t.numel() > 0 && to != data_of(t)) std::memcpy(to, data_of(t), t.nbytes());
  }
  auto at = static_cast<std::int32_t>(items_.size());
  for (const auto& [name, t] : buffers_) {
    at::Tensor c = t.detach().contiguous();
    if (c.nbytes() > 0) std::memcpy(flat.data() + layout_.offset(at), c.const_data_ptr(), c.nbytes());
    ++at;
  }
}

void BorrowedModel::copy_from(ConstBytes flat) const {
  at::NoGradGuard no_grad;
  for (std::size_t i = 0; i < items_.size(); ++i) {
    const at::Tensor& t = items_[i].tensor;
    const std::byte* from = flat.data() + layout_.offset(static_cast<std::int32_t>(i));
    if (t.numel() > 0 && from != data_of(t)) std::memcpy(data_of(t), from, t.nbytes());
  }
  auto at = static_cast<std::int32_t>(items_.size());
  for (const auto& [name, t] : buffers_) {
    at::Tensor c = at::empty(t.sizes(), t.options());
    if (c.nbytes() > 0) std::memcpy(c.mutable_data_ptr(), flat.data() + layout_.offset(at), c.nbytes());
    t.copy_(c);
    ++at;
  }
}

void BorrowedModel::move_in(const Item& item, std::byte* to) const {
  if (item.tensor.numel() == 0) return;
  item.tensor.storage().unsafeGetStorageImpl()->set_data_ptr_noswap(view_of(to, memory_));
}

void BorrowedModel::adopt(Bytes flat, std::shared_ptr<const void> memory) {
  flat_ = flat;
  memory_ = std::move(memory);
  for (std::size_t i = 0; i < items_.size(); ++i) move_in(items_[i], place(i));
  settled();
}

Result<BorrowedModel::Change> BorrowedModel::look() const {
  Change change;
  for (const Item& item : items_) {
    const at::Tensor& t = item.tensor;
    if (t.unsafeGetTensorImpl()->numel() != 0 && t.const_data_ptr() == item.data && t._version() == item.version &&
        t.sizes() == item.sizes) [[likely]]
      continue;
    if (t.sizes() != item.sizes || t.scalar_type() != item.type || !t.device().is_cpu() || t.layout() != at::kStrided)
      return invalid(
          "parameter " + item.name + " is " + text(t) +
          " now, which it was not when the trainer was made: change the model first, and make the trainer of it then");
    if (t.numel() == 0) continue;
    if (t.const_data_ptr() != item.data) {
      if (change.replaced.empty()) change.replaced = item.name;
    } else if (t._version() != item.version && change.written.empty()) {
      change.written = item.name;
    }
  }
  return change;
}

Status BorrowedModel::follow() {
  for (std::size_t i = 0; i < items_.size(); ++i) {
    Item& item = items_[i];
    if (item.tensor.numel() == 0 || item.tensor.const_data_ptr() == item.data) continue;
    keep_strides(item);  // a loss's graph may still use the memory that the parameter leaves
    std::memcpy(place(i), data_of(item.tensor), item.tensor.nbytes());
    move_in(item, place(i));
  }
  return {};
}

void BorrowedModel::settled() {
  for (Item& item : items_) {
    item.data = item.tensor.numel() > 0 ? item.tensor.const_data_ptr() : nullptr;
    item.version = item.tensor._version();
  }
}

void BorrowedModel::bump(Item& item) {
  torch::autograd::impl::bump_version(item.tensor);
  item.version = item.tensor._version();
}

void BorrowedModel::give_back() {
  for (std::size_t i = 0; i < items_.size() && !flat_.empty(); ++i) {
    const at::Tensor& t = items_[i].tensor;
    if (t.numel() == 0 || !t.has_storage() || data_of(t) != place(i)) continue;
    at::DataPtr own = c10::GetCPUAllocator()->allocate(t.nbytes());
    std::memcpy(own.get(), place(i), t.nbytes());
    t.storage().unsafeGetStorageImpl()->set_data_ptr_noswap(std::move(own));
  }
  flat_ = {};
  memory_.reset();
}

}  // namespace cohaul::train
