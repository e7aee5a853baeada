#include "cohaul/model/keys.h"

#include <string>

#include "cohaul/config/condition.h"

namespace cohaul::model {

using config::Config;
using config::KeySpec;
using config::Type;

std::vector<KeySpec> model_keys(bool own_program) {
  std::vector<KeySpec> keys{
      {.key = "model.name",
       .type = Type::string,
       .help = "the model to train",
       .required = true,
       .aliases = {"model", "type", "arch", "net"}},
      {.key = "model.init",
       .type = Type::string,
       .help = "how parameters start: as PyTorch's layers do, or all 0",
       .fallback = "default",
       .choices = {"default", "zero"},
       .aliases = {"initialization", "initializer"}},
  };
  if (own_program) return keys;
  keys.front().choices = {"softmax", "mlp", "cnn", "resnet18", "deep"};
  keys.push_back({.key = "model.width",
                  .type = Type::integer,
                  .help =
                      "units of a hidden layer (mlp 1024; deep 64), channels of the first stage (resnet18 64); with "
                      "--program any model.* is the program's",
                  .min = 1,
                  .max = 1 << 20,
                  .aliases = {"hidden", "hidden_size", "hidden_units", "channels"},
                  .only = {"model.name", {"mlp", "resnet18", "deep"}}});
  keys.push_back({.key = "model.depth",
                  .type = Type::integer,
                  .help = "hidden layers (mlp 2; deep 30)",
                  .min = 1,
                  .max = 1000,
                  .aliases = {"layers", "num_layers", "hidden_layers"},
                  .only = {"model.name", {"mlp", "deep"}}});
  keys.push_back({.key = "model.residual",
                  .type = Type::boolean,
                  .help = "each layer adds to its input; false: it takes its place",
                  .fallback = true,
                  .aliases = {"skip", "shortcut", "residuals"},
                  .only = {"model.name", {"deep"}}});
  keys.push_back({.key = "model.norm",
                  .type = Type::boolean,
                  .help = "a layer norm before each ReLU",
                  .fallback = true,
                  .aliases = {"layer_norm", "normalize", "norms"},
                  .only = {"model.name", {"deep"}}});
  return keys;
}

void fill_model(Config& job, const config::Schema& schema) {
  const bool mlp = job.get<std::string>("model.name") == "mlp";
  fill_default(job, schema, "model.width", mlp ? 1024 : 64);
  fill_default(job, schema, "model.depth", mlp ? 2 : 30);
}

ModelSettings settings_of(const Config& job) {
  ModelSettings s;
  s.name = job.get<std::string>("model.name");
  s.init = job.get_or("model.init", std::string("default"));
  s.seed = static_cast<std::uint64_t>(job.get<std::int64_t>("train.seed"));
  for (const auto& [key, entry] : job.entries()) {
    if (!key.starts_with("model.") || key == "model.name" || key == "model.init") continue;
    if (auto size = job.find<std::int64_t>(key)) s.sizes.emplace(key.substr(6), *size);
    if (auto choice = job.find<bool>(key)) s.sizes.emplace(key.substr(6), *choice ? 1 : 0);
  }
  return s;
}

}  // namespace cohaul::model
