#pragma once
// The model while a trainer has it: its parameters lie in the trainer's flat area. When the trainer ends, each gets memory of its own back.

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"
#include "cohaul/checkpoint/manifest.h"
#include "cohaul/train/model.h"
#include "cohaul/train/optimizer.h"
#include "cohaul/update/layout.h"

namespace cohaul::train {

/// One thread.
class BorrowedModel {
 public:
  /// Looks at the model: parameters first (a tied one once, under its first name), then buffers.
  /// Errors: unsupported, naming the parameter: not dense float32 or float64 on the CPU, or its memory is another tensor's too.
  /// optimizer: by whose groups the layout's parameters are told apart. invalid: a pattern of theirs matches no parameter. unsupported: a split
  /// parameter whose rule needs the norm of all of it.
  /// buffers: how the layout has them: to be reduced by owners, or (own) as frozen entries.
  static Result<std::unique_ptr<BorrowedModel>> of(Model model, const std::optional<Optimizer>& optimizer = {},
                                                   Buffers buffers = Buffers::own);
  ~BorrowedModel();
  BorrowedModel(const BorrowedModel&) = delete;

  const Model& model() const { return model_; }
  const update::Layout& layout() const { return layout_; }
  /// By index in the layout; undefined for buffers.
  std::vector<at::Tensor> parameters() const;
  /// The parameters, in the layout's order, for a checkpoint: whole, also those of which this worker has a part.
  std::vector<checkpoint::ParameterEntry> entries() const;
  const NamedTensors& buffers() const { return buffers_; }
  /// Of names, shapes, types and strides: two workers with equal ones have the same model.
  std::string fingerprint() const;

  /// Copies parameters and buffers into the flat area. Parameters that lie otherwise than when the trainer was made get their strides back.
  void copy_to(Bytes flat) const;
  /// Copies parameters and buffers out of it.
  void copy_from(ConstBytes flat) const;
  /// Moves the parameters' memory into the flat area, whose content they take over; so do tensors that share memory with one, as views and
  /// detached copies do. `memory` keeps the area alive for as long as any of them needs it.
  void adopt(Bytes flat, std::shared_ptr<const void> memory);

  /// How the user has changed parameters by hand since settled().
  struct Change {
    std::string replaced,
        written;  // the first parameter that has other memory now; that was written in place. Empty: none
    bool any() const { return !replaced.empty() || !written.empty(); }
  };
  /// Takes some 10 ns a parameter. Errors: invalid, naming the parameter: another shape, type or device than it had.
  Result<Change> look() const;
  /// Copies what replaced parameters hold into the flat area, and moves them there.
  Status follow();
  /// The present state of the parameters is ours.
  void settled();
  /// The update has changed parameters: autograd learns of it. changed(p): whether it may have changed this one.
  template <class Changed>
  void updated(const Changed& changed) {
    for (std::size_t i = 0; i < items_.size(); ++i)
      if (changed(static_cast<std::int32_t>(i))) bump(items_[i]);
  }

  /// Every parameter that still lies in the flat area gets memory of its own, with its present value.
  void give_back();

 private:
  struct Item {  // a parameter, by index in the layout
    std::string name;
    at::Tensor tensor;
    std::vector<std::int64_t> sizes, strides;
    at::ScalarType type;
    const void* data = nullptr;  // where it lay when it was settled
    std::uint32_t version = 0;
  };
  explicit BorrowedModel(Model model) : model_(std::move(model)) {}
  Status collect(const std::optional<Optimizer>& optimizer, Buffers buffers);
  Status find_rules(const Optimizer& optimizer, std::span<const std::vector<std::string>> names,
                    std::span<update::ParameterSpec> specs) const;
  std::vector<update::ParameterSpec> buffer_specs(Buffers buffers);
  Status may_own_storage(const Item& item) const;
  void own_storage(const Item& item) const;
  void keep_strides(const Item& item) const;
  std::byte* place(std::size_t item) const;
  void move_in(const Item& item, std::byte* place) const;
  void bump(Item& item);

  Model model_;
  update::Layout layout_;
  std::vector<Item> items_;
  NamedTensors buffers_;  // defined ones, in the layout's order after the items
  Bytes flat_;
  std::shared_ptr<const void> memory_;
};

}  // namespace cohaul::train
