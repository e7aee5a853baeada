#include "cohaul/observe/record.h"

#include <cmath>
#include <type_traits>

#include <nlohmann/json.hpp>

namespace cohaul::observe {
namespace {

using OrderedJson = nlohmann::ordered_json;

OrderedJson json_of(const Value& value) {
  return std::visit(
      [](const auto& v) -> OrderedJson {
        using T = std::remove_cvref_t<decltype(v)>;
        if constexpr (std::is_same_v<T, Json>) {
          OrderedJson parsed = OrderedJson::parse(v.text, nullptr, false);
          return parsed.is_discarded() ? OrderedJson(nullptr) : parsed;
        } else if constexpr (std::is_same_v<T, Figures>) {
          OrderedJson object = OrderedJson::object();
          for (const auto& [name, figure] : v) object[name] = json_of(figure);
          return object;
        } else if constexpr (std::is_same_v<T, double>) {
          return std::isfinite(v) ? OrderedJson(v) : OrderedJson(nullptr);
        } else {
          return OrderedJson(v);
        }
      },
      value);
}

}  // namespace

std::string to_json(const Event& event) {
  OrderedJson out{{"record", event.kind}};
  for (const auto& [name, value] : event.values) out[name] = json_of(value);
  return out.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

Result<Record> Record::create(const std::string& path) {
  COHAUL_ASSIGN(Output output, Output::create("--record", path));
  return Record(std::move(output));
}

Result<Record> Record::append(const std::string& path) {
  COHAUL_ASSIGN(Output output, Output::append("--record", path));
  return Record(std::move(output));
}

}  // namespace cohaul::observe
