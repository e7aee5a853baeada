// Programs that the compiler must refuse, one for each value of PROGRAM, and a correct one (0). A test compiles each and looks for the line that
// tells the user what to do.

#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>

#include <optional>

#include "cohaul/data/torch_data.h"
#include "cohaul/train/trainer.h"

using namespace cohaul;
using data::Batch, data::TorchData, strategy::Single, train::FitOptions, train::Sgd, train::Trainer;

struct Nothing {};

struct Items {
  struct Item {
    std::string key() const { return "weight"; }
    at::Tensor value() const { return weight; }
    at::Tensor weight;
  };
  const Item* begin() const { return &item; }
  const Item* end() const { return &item + 1; }
  Item item;
};

/// A module with the functions that a trainer needs.
struct Net {
  Items named_parameters() const { return {{weight}}; }
  Items named_buffers() const { return {{weight}}; }
  std::vector<std::shared_ptr<Net>> modules(bool) const { return {}; }
  bool is_training() const { return true; }
  void train(bool) {}
  void eval() {}
  at::Tensor weight = at::ones({1});
};

/// A data set as torch::data has them.
struct TorchSet {
  struct Example {
    at::Tensor data, target;
  };
  std::vector<Example> get_batch(const std::vector<std::size_t>& rows) {
    return {rows.size(), {at::ones({1}), at::ones({1})}};
  }
  std::optional<std::size_t> size() const { return 8; }
};

void program(job::Job& job, Net& net) {
  const FitOptions options{.batch = 2, .steps = 1};
  const auto loss = [&](const Batch& b) { return (net.weight * b.input).mean(); };
#if PROGRAM == 0
  Trainer trainer(job, net, Single{}, Sgd{});
  const TorchData data{TorchSet()};
  trainer.fit(data, loss, options);
  for (const Batch& b : trainer.batches(data, options)) trainer.step(loss(b));
  trainer.fit(TorchData{TorchSet()}, loss, options);
  Trainer moved = std::move(trainer);
#elif PROGRAM == 1
  Trainer trainer(job, net, Single{}, Sgd{});
  for (const Batch& b : trainer.batches(TorchData{TorchSet()}, options)) trainer.step(loss(b));
#elif PROGRAM == 2
  Trainer trainer(job, net, Single{}, Sgd{});
  for (const Batch& b : trainer.batches(TorchSet(), options)) trainer.step(loss(b));
#elif PROGRAM == 3
  Trainer trainer(job, net, Single{}, Sgd{});
  trainer.fit(TorchSet(), loss, options);
#elif PROGRAM == 4
  Trainer trainer(job, Net(), Single{}, Sgd{});
#elif PROGRAM == 5
  Trainer trainer(job, Nothing(), Single{}, Sgd{});
#elif PROGRAM == 6
  Trainer trainer(job, net, Single{}, Sgd{});
  Trainer copy = trainer;
#elif PROGRAM == 7
  Trainer trainer(job, net, Single{}, Sgd{});
  trainer.fit(
      TorchData{TorchSet()}, [](const Batch&) { return 0.0; }, options);
#endif
}
