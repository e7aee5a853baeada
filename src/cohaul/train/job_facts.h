#pragma once
// What all workers must have alike, as lines "name=value". It is compared when a trainer is made and when a loop begins.

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "cohaul/data/data_set.h"
#include "cohaul/strategy/strategy.h"
#include "cohaul/train/borrowed_model.h"
#include "cohaul/train/optimizer.h"

namespace cohaul::train {

struct FitOptions;
struct TrainerOptions;

std::string trainer_facts(const strategy::Strategy& strategy, const std::optional<Optimizer>& optimizer,
                          const TrainerOptions& options, const BorrowedModel& model);
/// number: of the loop. options: with `steps` resolved. The data set is represented by its size and, where it has one, its fingerprint.
std::string loop_facts(std::int64_t number, const FitOptions& options, const data::DataSet& set);
/// buffers: a hash of those buffers that should be equal at all workers.
std::string evaluation_facts(const data::DataSet& set, std::int64_t batch, std::size_t metrics, std::uint64_t buffers);
/// rates: of the optimizer's groups, as set_lr() has set them.
std::string rates_facts(std::span<const double> rates);

}  // namespace cohaul::train
