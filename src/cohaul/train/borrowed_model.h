#pragma once
// A model whose parameters lie in a trainer's flat area. When the trainer ends, each parameter gets memory of its own again.

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

/// One thread uses it.
class BorrowedModel {
 public:
  /// Collects the model's tensors: parameters first (a tied one once, under its first name), then buffers. optimizer: its groups decide the rule of
  /// each parameter. buffers: reduced by owners, or (own) frozen entries of the layout.
  /// Errors: unsupported, naming a parameter that is not dense float32 or float64 on the CPU, that shares its memory with another tensor, or that is
  /// split though its rule needs the norm of all of it; invalid: a pattern of the groups matches no parameter.
  static Result<std::unique_ptr<BorrowedModel>> of(Model model, const std::optional<Optimizer>& optimizer = {},
                                                   Buffers buffers = Buffers::own);
  ~BorrowedModel();
  BorrowedModel(const BorrowedModel&) = delete;

  const Model& model() const { return model_; }
  const update::Layout& layout() const { return layout_; }
  /// Returns the parameters by index in the layout; undefined for buffers.
  std::vector<at::Tensor> parameters() const;
  /// Returns the parameters' entries in a checkpoint, in the layout's order. A parameter of which this worker has a part is described whole.
  std::vector<checkpoint::ParameterEntry> entries() const;
  const NamedTensors& buffers() const { return buffers_; }
  /// Returns a hash of names, shapes, types and strides, which is equal at workers with the same model.
  std::string fingerprint() const;

  /// Copies parameters and buffers into the flat area. Parameters whose strides have changed since the trainer was made get the former ones back.
  void copy_to(Bytes flat) const;
  /// Copies parameters and buffers out of the flat area.
  void copy_from(ConstBytes flat) const;
  /// Moves the parameters' storage into the flat area and takes over the values there. Tensors that share storage with a parameter, such as views and
  /// detached copies, follow. `memory` keeps the area alive as long as any of them exists.
  void adopt(Bytes flat, std::shared_ptr<const void> memory);

  /// How the user has changed parameters by hand since settled().
  struct Change {
    std::string replaced,
        written;  // the first parameter that has other memory now; the first that was written in place. Empty: none
    bool any() const { return !replaced.empty() || !written.empty(); }
  };
  /// Returns what the user has changed. Takes about 10 ns a parameter. Errors: invalid, naming a parameter that has another shape, type or device
  /// than before.
  Result<Change> look() const;
  /// Copies the values of replaced parameters into the flat area, and moves their storage there.
  Status follow();
  /// Records the present state of the parameters, with which look() compares later.
  void settled();
  /// Tells autograd that an update has changed parameters. changed(p): whether it may have changed parameter p.
  template <class Changed>
  void updated(const Changed& changed) {
    for (std::size_t i = 0; i < items_.size(); ++i)
      if (changed(static_cast<std::int32_t>(i))) bump(items_[i]);
  }

  /// Gives every parameter that still lies in the flat area memory of its own, with its present value.
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
