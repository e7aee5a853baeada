#pragma once
// A training program as a value: a model, its optimizers, its loops, and what its author does between steps. Random programs are drawn
// (generate.h), run by torch::optim (reference.h) and by Cohaul (run.h), and compared.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace cohaul::programs {

enum class Kind { linear, convolution, layer_norm, embedding, recurrent };
enum class Activation { none, tanh, silu, gelu, relu };
/// The strides of the weight: transposed, with gaps between its rows, or channels last.
enum class Strides { plain, transposed, gaps, channels_last };
/// Which part of a layer's use has no gradient. weights: the weights learn by a loss of their own on detached features.
enum class Detached { no, input, weights };
/// Where a layer is not used: in some slices, in whole steps, or in all slices but the first.
enum class Unused { never, slices, steps, most };

/// A layer adds its output to its input. All layers have the program's width at both ends.
struct Layer {
  Kind kind = Kind::linear;
  Activation activation = Activation::none;
  bool wide = false;  // its weight has more than 64 KiB
  Strides strides = Strides::plain;
  Detached detached = Detached::no;
  Unused unused = Unused::never;
  bool twice = false;        // applied twice
  bool recomputed = false;   // its forward is computed again within backward
  bool frozen = false;       // when the trainer is made
  bool dropout = false;      // in training
  bool dropout_off = false;  // its dropout is in evaluation mode all the time
  bool statistics =
      false;      // in training it subtracts the batch's mean, in evaluation a running mean; and it counts batches
  int tied = -1;  // the earlier layer that it is tied to
  bool operator==(const Layer&) const = default;
};

/// A group of parameters, by the ends or beginnings of their names.
struct GroupOf {
  std::vector<std::string> match;
  double lr = 0;  // relative to the rule's; 0: the rule's
  double decay = 0, momentum = 0;
  bool trust = true;  // for layer-wise rules
};
/// Returns the groups of rules that are grouped.
const std::vector<GroupOf>& groups_of_parameters();
/// What set_rate and set_group_rate set, relative to the rule's.
constexpr double kRateByHand = 0.4;

/// Rules of torch::optim, by name; lars and lamb are in papers.h.
enum class RuleKind { sgd, adam, adamw, lars, lamb };
/// Returns whether rates depend on norms of whole parameters.
constexpr bool is_layerwise(RuleKind kind) { return kind == RuleKind::lars || kind == RuleKind::lamb; }
constexpr double kTrustCoefficient = 0.4;  // of lars
constexpr double kPlateauFactor = 0.5;
struct Rule {
  RuleKind kind = RuleKind::sgd;
  double lr = 0.05, momentum = 0, dampening = 0, decay = 0, eps = 1e-8;
  bool nesterov = false;
  bool trust = true;  // layer-wise rules: whether the rate is multiplied with the trust ratio
  double clip_norm = 0, clip_value = 0;
  bool skip = false;     // skips steps whose gradients are not finite
  bool grouped = false;  // biases, and the other parameters of the first and last layer, have other settings
  int warmup = 0;        // number of steps in which the rates rise; afterwards they fall
  double gamma = 1;      // by this factor at each step
  bool plateau = false;  // or when a loss no longer falls
  double ema = 0;        // decay of moving averages of the parameters; 0: none
  bool operator==(const Rule&) const = default;
};

enum class LoopKind { own, batches, fit };
/// Whether the loop is left before its end: after a step was answered, or with the next batch unanswered.
enum class Left { no, after, before };
/// Whether trainers are made again before the loop: assigned over the old ones, or after those are destroyed.
enum class Remade { no, over, reset };
struct Loop {
  LoopKind kind = LoopKind::own;
  int steps = 6;
  Left left = Left::no;
  int batch = 1;        // samples of a step; for own loops: of a slice
  bool shuffle = true;  // batches, fit
  bool uneven = false;  // own: slices of unequal size
  Remade remade = Remade::no;
  double rate = 1;  // rate of the new trainers, relative to the rule's
  bool operator==(const Loop&) const = default;
};

enum class Act {
  probe_backward,     // backward of another loss, whose gradients are left in .grad
  probe_grad,         // torch::autograd::grad
  probe_forward,      // without gradients
  freeze,             // a layer
  unfreeze,           // a layer
  write,              // by hand
  write_storage,      // a parameter gets other memory
  load,               // torch::load into the model, on all workers
  load_within_write,  // the same in trainer.write()
  evaluate,
  evaluate_by_hand,
  save,
  set_rate,           // of the model's trainer
  set_group_rate,     // of its first group
  tell_plateau,       // a loss
  evaluate_averages,  // of the parameters
};
/// When an event happens: after the step before, when the batch is there, or before each of the worker's slices.
enum class When { between, fetched, slices };
struct Event {
  int step = 1;
  Act act = Act::probe_forward;
  When when = When::between;
  int layer = 0;            // freeze, unfreeze, write
  bool first_only = false;  // probes: on worker 0 alone
  bool operator==(const Event&) const = default;
};

/// A slice whose loss, or one of whose gradients, is not finite.
struct Poison {
  int step = 0, slice = 0;
  bool loss = true;
  bool operator==(const Poison&) const = default;
};

struct Program {
  std::uint64_t seed = 0;  // seed of its random numbers; the program itself is drawn from it too
  bool float64 = true;
  int width = 8;  // width of all layers, a multiple of 4
  int slices = 1;
  int outputs = 1;
  bool classes = false;  // cross entropy over the outputs; else mean squares
  std::vector<Layer> layers;
  bool penalty = false;        // the loss has a penalty on the gradient with respect to the input
  bool drift = false;          // a parameter whose gradient is one number, expanded
  bool drift_wide = false;     // that parameter has more than 64 KiB
  bool odd = false;            // a scalar and an empty parameter; in float32 programs the scalar is float64
  bool second = false;         // a second model with a trainer of its own, whose loss flows through the model
  bool after = false;          // the model is used and saved after its trainer is gone
  bool own_optimizer = false;  // the model's trainer averages gradients, and the program's own torch::optim updates
  bool crowd = false;          // thousands of small parameters, a fifth of which each slice uses
  bool disagrees = false;      // the last worker first tries another rate, and all workers must get an error
  Rule rule, second_rule;
  std::vector<Loop> loops;
  std::vector<Event> events;
  std::vector<Poison> poison;

  int steps() const;
  bool operator==(const Program&) const = default;
};

/// A place in the program: a slice of a step, both counted from 0.
struct Place {
  int step = 0, slice = 0;
};
bool is_used(const Layer& layer, const Place& place);
/// Return whether a trainer of the program keeps moving averages: any, or the model's.
bool keeps_averages(const Program& program);
bool model_keeps_averages(const Program& program);
/// Returns the number of samples of a slice in an own loop.
int own_samples(const Loop& loop, const Place& place);
/// Returns whether the slices of a step are of unequal size.
bool is_uneven(const Loop& loop, int slices);

nlohmann::json to_json(const Program& program);
/// Reads a program. Throws nlohmann's exceptions.
Program from_json(const nlohmann::json& json);

/// Returns the program as text, nearly as its author would write it.
std::string describe(const Program& program);

/// Return the names of all features that a program can have, and which of them it has, in the same order.
const std::vector<std::string>& feature_names();
std::vector<bool> features_of(const Program& program);

}  // namespace cohaul::programs
