#include "cohaul/train/report.h"

namespace cohaul::train {

void add_asynchrony(observe::Event& event, const strategy::Asynchrony& asynchrony) {
  event.add("staleness_mean", asynchrony.staleness_mean);
  event.add("staleness_max", asynchrony.staleness_max);
  event.add("gap_max", asynchrony.gap_max);
}

}  // namespace cohaul::train
