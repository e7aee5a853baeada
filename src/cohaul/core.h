#pragma once
// The face of Cohaul::core, the part that needs no LibTorch: joining a job, collectives over its workers, sinks for events. Brings the user's names
// into cohaul::.

#include "cohaul/base/error.h"
#include "cohaul/base/exit_code.h"
#include "cohaul/base/status.h"
#include "cohaul/collective/group.h"
#include "cohaul/collective/workers.h"
#include "cohaul/job/job.h"
#include "cohaul/observe/csv.h"
#include "cohaul/observe/event.h"
#include "cohaul/observe/progress.h"
#include "cohaul/observe/record.h"
#include "cohaul/observe/tensorboard.h"

namespace cohaul {

using job::from_environment;
using job::Job;
using job::JoinOptions;

using collective::connect_workers;
using collective::Group;
using collective::Workers;

using observe::Event;
using observe::Sink;

}  // namespace cohaul
