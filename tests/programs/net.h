#pragma once
// The model of a program, as a user would write it.

#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/modules/rnn.h>

#include <deque>

#include "program.h"
#include "samples.h"

namespace cohaul::programs {

/// How a loss is computed.
struct Pass {
  Place place{};
  bool recompute = false;  // for the layers that have this feature
  bool penalty = false;    // if the program has it
  bool poison = false;
  bool statistics = false;  // running statistics are updated
};

class NetImpl;

/// A layer whose forward is computed again in backward.
struct Segment {
  NetImpl* net = nullptr;
  std::size_t layer = 0;
};

class NetImpl : public torch::nn::Module {
 public:
  /// Draws the parameters from init_seed. program must outlive it.
  NetImpl(const Program& program, std::uint64_t init_seed);

  /// Takes input [n, width + kTokens], and returns [n, outputs].
  at::Tensor forward(const at::Tensor& input, const Pass& pass);
  at::Tensor loss(const data::Batch& batch, const Pass& pass);

  /// Returns the parameters of a layer; a tied layer has those of the layer that it is tied to.
  std::vector<at::Tensor> parameters_of(int layer);
  /// Computes one layer: h [n, width], tokens [n, kTokens] → [n, width].
  at::Tensor apply(std::size_t layer, const at::Tensor& h, const at::Tensor& tokens);

 private:
  struct Part {
    torch::nn::Linear linear{nullptr};
    torch::nn::Conv2d convolution{nullptr};
    torch::nn::LayerNorm norm{nullptr};
    torch::nn::Embedding embedding{nullptr};
    torch::nn::GRU recurrent{nullptr};
    torch::nn::Dropout dropout{nullptr};
    at::Tensor running, count;  // statistics
  };
  Part make(const Layer& layer);
  void add_odd_parameters();
  at::Tensor centre(Part& part, const at::Tensor& h);
  void draw_parameters(std::uint64_t init_seed);
  void stride_weights();
  at::Tensor use(std::size_t layer, const at::Tensor& h, const at::Tensor& tokens, const Pass& pass);
  at::Tensor penalty(const at::Tensor& input, const Pass& pass);
  at::Tensor poison(const at::Tensor& loss, const Place& place);

  const Program& program_;
  std::vector<Part> parts_;
  std::deque<Segment> segments_;  // one for each layer; their addresses do not change
  torch::nn::Linear head_{nullptr};
  at::Tensor drift_, scale_, nothing_, gain_;
  std::vector<at::Tensor> crowd_;
  bool statistics_ = false;  // set for the current or last forward
  at::Tensor auxiliary_;     // loss of the current forward; may be undefined
};
TORCH_MODULE(Net);

/// The second model: its output is an input of the first one.
class SecondImpl : public torch::nn::Module {
 public:
  SecondImpl(const Program& program, std::uint64_t init_seed);
  at::Tensor forward(const at::Tensor& input);

 private:
  const Program& program_;
  torch::nn::Linear linear_{nullptr};
};
TORCH_MODULE(Second);

/// Restores each module's mode at the end of the scope.
class KeepModes {
 public:
  explicit KeepModes(torch::nn::Module& module);
  ~KeepModes();
  KeepModes(const KeepModes&) = delete;

 private:
  std::vector<std::pair<std::shared_ptr<torch::nn::Module>, bool>> modes_;
};

}  // namespace cohaul::programs
