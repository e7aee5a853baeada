#include "cohaul/train/model.h"

namespace cohaul::train {

const parallel::SplitParameter* Model::split_of(const std::string& name) const {
  for (const auto& s : split)
    if (s.name == name) return &s;
  return nullptr;
}

EvaluationMode::EvaluationMode(const Model& model) {
  if (model.evaluation) {
    back_ = model.evaluation();
    return;
  }
  model.train(false);
  back_ = [train = model.train] { train(true); };
}

}  // namespace cohaul::train
