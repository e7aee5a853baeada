// Arbitrary bytes as a layout and optimizer settings: they are refused, or decoded to a layout that encodes to the same bytes.

#include <cstdlib>

#include "cohaul/update/layout.h"
#include "cohaul/update/optimizer_settings.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cohaul;
  const ConstBytes bytes(reinterpret_cast<const std::byte*>(data), size);
  Reader settings(bytes);
  if (auto optimizer = update::OptimizerSettings::decode(settings); optimizer.ok()) {
    for (const update::RuleSettings& rule : optimizer->groups)
      if (update::make_rule(rule) == nullptr) std::abort();
    const update::Rates rates(*optimizer);
    for (const std::int64_t t : {std::int64_t{0}, std::int64_t{1000}, std::int64_t{1} << 50})
      if (rates.at(0, t) < 0) std::abort();
  }

  Reader reader(bytes);
  const auto layout = update::Layout::decode(reader);
  if (!layout.ok()) return 0;
  std::vector<std::byte> again;
  Writer writer(again);
  layout->encode(writer);
  Reader back(again);
  const auto second = update::Layout::decode(back);
  if (!second.ok() || second->hash() != layout->hash()) std::abort();
  if (update::assign_owners(*layout, 3).size() != layout->partitions().size()) std::abort();
  return 0;
}
