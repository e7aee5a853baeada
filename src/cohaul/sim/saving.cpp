#include "cohaul/sim/saving.h"

#include <cstring>

#include "cohaul/ps/memory.h"
#include "cohaul/sim/stub.h"
#include "cohaul/update/local_exchange.h"

namespace cohaul::sim {
namespace {

std::vector<double> numbers(ConstBytes bytes) {
  std::vector<double> out(bytes.size() / sizeof(double));
  if (!out.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

void copy(Bytes to, std::uint64_t at, std::span<const double> from) {
  if (!from.empty()) std::memcpy(to.data() + at * sizeof(double), from.data(), from.size_bytes());
}

}  // namespace

void SavingDisk::save(const std::string&, const std::string&, const std::string&, const update::Layout&,
                      std::span<const update::StatePiece> pieces) {
  std::vector<SavedPiece>& part = saving_.parts[server_];
  part.clear();
  for (const update::StatePiece& p : pieces) {
    SavedPiece saved{p.parameter, p.first, *p.count, numbers(p.values), {}};
    for (int k = 0; k < p.states_used; ++k) saved.states.push_back(numbers(p.states[static_cast<std::size_t>(k)]));
    part.push_back(std::move(saved));
  }
  copied_ = true;
}

Status check_checkpoint(const Saving& saving, const Scenario& scenario, const update::Layout& layout,
                        std::span<const double> values, std::span<const double> end) {
  if (static_cast<std::int32_t>(saving.servers_said.size()) != scenario.servers ||
      static_cast<std::int32_t>(saving.workers_said.size()) != scenario.workers)
    return corrupt("a checkpoint was committed without a part that was written");
  ps::HeapMemory memory;
  const Bytes bytes = memory.allocate(layout.bytes());
  const std::span<double> parameters{reinterpret_cast<double*>(bytes.data()), bytes.size() / sizeof(double)};
  std::ranges::copy(values, parameters.begin());  // the frozen parameters
  auto local = update::make_local_exchange(layout, stub_rule(true), scenario.policy, bytes);
  std::uint64_t elements = 0, expected = 0;
  for (const update::StatePiece& whole : local->owned()) {
    expected += whole.elements;
    for (const auto& [server, part] : saving.parts) {
      for (const SavedPiece& piece : part) {
        const std::uint64_t last = piece.first + piece.values.size();
        if (piece.parameter != whole.parameter || piece.first < whole.first || last > whole.first + whole.elements)
          continue;
        elements += piece.values.size();
        copy(whole.values, piece.first - whole.first, piece.values);
        for (std::size_t k = 0; k < piece.states.size(); ++k)
          copy(whole.states[k], piece.first - whole.first, piece.states[k]);
        *whole.count = piece.count;
      }
    }
  }
  if (elements != expected) return corrupt("a checkpoint was committed that lacks elements");
  if (std::memcmp(parameters.data(), values.data(), values.size_bytes()) != 0)
    return corrupt("a checkpoint has other parameters than the run had between its two steps");
  local->set_first(scenario.save_after);
  std::vector<double> gradient(parameters.size());
  for (std::int64_t s = scenario.save_after; s < scenario.all_steps(); ++s)
    COHAUL_TRY(whole_step(*local, scenario, layout, Step(s), gradient).status());
  if (std::memcmp(parameters.data(), end.data(), end.size_bytes()) != 0)
    return corrupt("a run that goes on from the checkpoint does not come to the same end");
  return {};
}

}  // namespace cohaul::sim
