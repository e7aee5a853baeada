#include "cohaul/checkpoint/manifest.h"

#include <nlohmann/json.hpp>

#include "cohaul/base/hash.h"

namespace cohaul::checkpoint {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kHashLine = "xxh3 ";

Json to_json(const ParameterEntry& p) {
  return {{"name", p.name}, {"shape", p.shape}, {"strides", p.strides}, {"dtype", name(p.dtype)}};
}

ParameterEntry parameter_of(const Json& json) {
  ParameterEntry p;
  json.at("name").get_to(p.name);
  json.at("shape").get_to(p.shape);
  json.at("strides").get_to(p.strides);
  p.dtype = json.at("dtype").get<std::string>() == name(DType::float64) ? DType::float64 : DType::float32;
  return p;
}

Manifest manifest_of(const Json& json) {
  Manifest m;
  json.at("library").get_to(m.library);
  json.at("trainer").get_to(m.trainer);
  json.at("updates").get_to(m.updates);
  json.at("optimizer").get_to(m.optimizer);
  json.at("rates").get_to(m.rates);
  m.ema = json.value("ema", 0.0);  // older ones have none
  json.at("strategy").get_to(m.strategy);
  json.at("workers").get_to(m.workers);
  json.at("slices").get_to(m.slices);
  json.at("threads").get_to(m.threads);
  json.at("seed").get_to(m.seed);
  const Json& loop = json.at("loop");
  loop.at("number").get_to(m.loop.number);
  loop.at("first").get_to(m.loop.first);
  loop.at("last").get_to(m.loop.last);
  loop.at("running").get_to(m.loop.running);
  loop.at("facts").get_to(m.loop.facts);
  for (const Json& p : json.at("parameters")) m.parameters.push_back(parameter_of(p));
  for (const Json& f : json.at("files"))
    m.files.push_back(
        {f.at("name").get<std::string>(), f.at("bytes").get<std::uint64_t>(), f.at("hash").get<std::string>()});
  return m;
}

}  // namespace

std::string Manifest::encode() const {
  Json json = {{"format", format},       {"library", library}, {"trainer", trainer},   {"updates", updates},
               {"optimizer", optimizer}, {"rates", rates},     {"strategy", strategy}, {"workers", workers},
               {"slices", slices},       {"threads", threads}, {"seed", seed}};
  if (ema != 0) json["ema"] = ema;
  json["loop"] = {{"number", loop.number},
                  {"first", loop.first},
                  {"last", loop.last},
                  {"running", loop.running},
                  {"facts", loop.facts}};
  json["files"] = Json::array();
  for (const FileEntry& f : files) json["files"].push_back({{"name", f.name}, {"bytes", f.bytes}, {"hash", f.hash}});
  json["parameters"] = Json::array();
  for (const ParameterEntry& p : parameters) json["parameters"].push_back(to_json(p));
  std::string text = json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
  return text + std::string(kHashLine) + hash128(as_bytes(std::string_view(text))) + "\n";
}

Result<Manifest> Manifest::decode(std::string_view text) {
  const std::size_t line = text.rfind(kHashLine);
  if (line == std::string_view::npos || line == 0 || text[line - 1] != '\n')
    return invalid("not a manifest, or cut short: its last line has no hash");
  const std::string expected = std::string(kHashLine) + hash128(as_bytes(text.substr(0, line))) + "\n";
  if (text.substr(line) != expected) return invalid("its content is not what its hash says: it was changed");
  const Json json = Json::parse(text.substr(0, line), nullptr, /*allow_exceptions=*/false);
  try {
    const int format = json.at("format").get<int>();
    if (format > kFormat)
      return invalid("its format is " + std::to_string(format) +
                     ", of a newer version of Cohaul; this one reads up to " + std::to_string(kFormat));
    if (format < kFormat)
      return invalid("its format is " + std::to_string(format) + ", of an older version of Cohaul; this one reads " +
                     std::to_string(kFormat));
    Manifest m = manifest_of(json);
    if (m.updates < 0 || m.slices < 1 || m.workers < 1) return invalid("it has counts below 0");
    return m;
  } catch (const nlohmann::json::exception& e) {
    return invalid(std::string("a manifest that cannot be read: ") + e.what());
  }
}

}  // namespace cohaul::checkpoint
