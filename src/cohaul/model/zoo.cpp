#include "cohaul/model/zoo.h"

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <array>

#include "cohaul/model/nets.h"
#include "cohaul/parallel/linear.h"

namespace cohaul::model {
namespace {

constexpr Size kInputs{"inputs", 784, 1, 1 << 24, "values of a sample", true};
constexpr Size kClasses{"classes", 10, 2, 1 << 24, "classes to tell apart", true};
constexpr Size kRows{"rows", 28, 4, 1 << 14, "rows of an image", true};
constexpr Size kColumns{"columns", 28, 4, 1 << 14, "columns of an image", true};
constexpr Size kWidth{"width", 1024, 1, 1 << 20, "units of a hidden layer"};
constexpr Size kDepth{"depth", 2, 1, 1000, "hidden layers"};
constexpr Size kDeepWidth{"width", 64, 1, 1 << 20, "units of a layer"};
constexpr Size kDeepDepth{"depth", 30, 1, 1000, "layers between the first and the last"};
constexpr Size kResidual{"residual", 1, 0, 1, "1: each layer adds to its input; 0: it takes its place"};
constexpr Size kNorm{"norm", 1, 0, 1, "1: a layer norm before each ReLU; 0: none"};
constexpr Size kChannels{"width", 64, 1, 1 << 12, "channels of the first stage; each further one has twice as many"};

struct Model {
  std::string_view name;
  Net (*make)(const Sizes&, parallel::Factory&);
  std::vector<Size> sizes;
};

const std::array<Model, 5>& zoo() {
  static const std::array<Model, 5> models{
      Model{"softmax", make_softmax, {kInputs, kClasses}}, Model{"mlp", make_mlp, {kInputs, kWidth, kDepth, kClasses}},
      Model{"cnn", make_cnn, {kRows, kColumns, kClasses}}, Model{"resnet18", make_resnet18, {kChannels, kClasses}},
      Model{"deep", make_deep, {kInputs, kDeepWidth, kDeepDepth, kResidual, kNorm, kClasses}}};
  return models;
}

template <class Items, class Text>
std::string listed(const Items& items, Text text) {
  std::string out;
  for (const auto& item : items) out += (out.empty() ? "" : ", ") + std::string(text(item));
  return out;
}

Result<const Model*> find(const std::string& name) {
  for (const Model& m : zoo()) {
    if (m.name == name) return &m;
  }
  return invalid("model.name = \"" + name + "\": no such model; the zoo has " +
                 listed(zoo(), [](const Model& m) { return m.name; }));
}

Result<Sizes> resolve(const Model& model, const std::map<std::string, std::int64_t>& given) {
  Sizes sizes;
  for (const Size& s : model.sizes) sizes[s.key] = s.fallback;
  for (const auto& [key, value] : given) {
    auto s = std::find_if(model.sizes.begin(), model.sizes.end(), [&](const Size& x) { return x.key == key; });
    if (s == model.sizes.end()) {
      return invalid("model." + key + ": no size of the model " + std::string(model.name) + "; it has " +
                     listed(model.sizes, [](const Size& x) { return x.key; }));
    }
    if ((value < s->min || value > s->max) && s->of_data) {
      return invalid("takes data with " + std::to_string(s->min) + " to " + std::to_string(s->max) + " " +
                     std::string(s->what) + ", and data.path has " + std::to_string(value) + "; choose another model");
    }
    if (value < s->min || value > s->max) {
      return invalid("model." + key + " = " + std::to_string(value) + ": must be " + std::to_string(s->min) + " to " +
                     std::to_string(s->max));
    }
    sizes[s->key] = value;
  }
  return sizes;
}

template <class Named>
NamedTensors tensors_of(const Named& named) {
  NamedTensors out;
  for (const auto& item : named) out.emplace_back(item.key(), item.value());
  return out;
}

Entry entry_of(Net net, std::int64_t classes, parallel::Factory& factory) {
  Entry entry;
  entry.module = net.module;
  // The functions also own the module, so an entry may be taken apart.
  entry.loss = [net, classes, &factory](const data::Batch& b) {
    return factory.cross_entropy(net.forward(b.input), b.target, classes);
  };
  entry.metrics.emplace_back("accuracy", [net, classes, &factory](const data::Batch& b) {
    at::NoGradGuard no_grad;
    return static_cast<double>(factory.argmax(net.forward(b.input), classes).eq(b.target).sum().item<std::int64_t>());
  });
  entry.parameters = tensors_of(net.module->named_parameters());
  entry.buffers = tensors_of(net.module->named_buffers());
  entry.split = parallel::split_parameters(*net.module);
  entry.train = [module = net.module](bool on) { module->train(on); };
  return entry;
}

}  // namespace

std::vector<std::string_view> names() {
  std::vector<std::string_view> out;
  for (const Model& m : zoo()) out.push_back(m.name);
  return out;
}

std::vector<Size> sizes_of(std::string_view name) {
  auto m = find(std::string(name));
  return m.ok() ? (*m)->sizes : std::vector<Size>{};
}

void fit_to_data(ModelSettings& settings, const DataShape& data) {
  const std::pair<std::string_view, std::int64_t> known[] = {
      {"inputs", data.rows * data.columns}, {"rows", data.rows}, {"columns", data.columns}, {"classes", data.classes}};
  for (const Size& s : sizes_of(settings.name))
    for (const auto& [key, value] : known)
      if (s.of_data && s.key == key) settings.sizes.emplace(key, value);
}

Result<Entry> make(const ModelSettings& settings, parallel::Factory& factory) {
  COHAUL_ASSIGN(const Model* model, find(settings.name));
  COHAUL_ASSIGN(Sizes sizes, resolve(*model, settings.sizes));
  if (settings.init != "default" && settings.init != "zero") {
    return invalid("model.init = \"" + settings.init + "\": must be \"default\" (as PyTorch's layers) or \"zero\"");
  }
  at::manual_seed(settings.seed);
  Entry entry = entry_of(model->make(sizes, factory), sizes.at("classes"), factory);
  if (settings.init == "zero") {
    at::NoGradGuard no_grad;
    for (auto& [name, tensor] : entry.parameters) tensor.zero_();
  }
  return entry;
}

}  // namespace cohaul::model
