#include "cohaul/cli/job_schema.h"

#include "cohaul/data/keys.h"
#include "cohaul/job/keys.h"
#include "cohaul/model/keys.h"
#include "cohaul/strategy/keys.h"
#include "cohaul/train/keys.h"
#include "cohaul/update/optimizer_keys.h"
#include "cohaul/update/schedule_keys.h"

namespace cohaul::cli {

config::Schema job_schema(bool own_program) {
  return config::Schema(config::concatenate({model::model_keys(own_program), data::data_keys(), train::train_keys(),
                                             update::optimizer_keys(), update::schedule_keys(),
                                             strategy::strategy_keys(), job::job_keys()}));
}

}  // namespace cohaul::cli
