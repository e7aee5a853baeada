// A worker of the process tests: trains a small vector on the job's servers, and compares with one process where that is promised.
//   ps_worker sync|async|bounded [kill-server|kill-self]    kill-self: worker 1 kills itself within a step

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "cohaul/job/job.h"
#include "cohaul/job/member.h"
#include "cohaul/ps/client.h"
#include "cohaul/ps/memory.h"
#include "cohaul/update/local_exchange.h"

using namespace cohaul;

namespace {

constexpr std::int64_t kSteps = 40, kDeadlyStep = 7;
constexpr int kTrainers = 2;                         // one after the other, on the same servers
constexpr std::int64_t kServerMemoryMax = 20 << 10;  // KB, of a server besides its parameters and state
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kMeasuresMemory = false;  // a sanitizer uses memory of its own
#else
constexpr bool kMeasuresMemory = true;
#endif

struct Plan {
  std::string mode = "sync", deed;
};

/// Every slice contributes the same number, which needs no rounding, so any sum over slices is exact.
Status step(update::Exchange& exchange, const update::Layout& layout, const update::Work& work, Bytes gradients) {
  COHAUL_TRY(exchange.begin(work, {}));
  auto weight = static_cast<float>(work.slices.size()) / static_cast<float>(work.slices.count);
  auto* values = reinterpret_cast<float*>(gradients.data());
  std::fill(values, values + gradients.size() / sizeof(float), weight * static_cast<float>(work.step.value % 8));
  for (std::size_t r = 0; r < layout.buckets().size(); ++r) {
    const update::Bucket& bucket = layout.buckets()[r];
    COHAUL_TRY(exchange.push(
        {.bucket = static_cast<std::int32_t>(r), .bytes = gradients.subspan(bucket.offset, bucket.bytes)}));
  }
  const update::PartEnd end{.loss = weight};
  return exchange.finish({&end, 1}).status();
}

Status commit(const job::Job& job, const std::string& deed) {
  if (job.rank() != 1) return {};
  if (deed == "kill-self") ::raise(SIGKILL);
  for (const job::Member& m : job.members()) {
    if (deed == "kill-server" && m.role == transport::Role::server && m.rank == 0)
      ::kill(static_cast<pid_t>(m.pid), SIGKILL);
  }
  return {};
}

Status look_at_servers(const job::Job& job) {
  for (const job::Member& m : job.members()) {
    if (m.role != transport::Role::server) continue;
    const std::string process = "/proc/" + std::to_string(m.pid);
    if (std::filesystem::read_symlink(process + "/exe").filename().string().starts_with("qemu-"))
      continue;  // it holds the emulator's memory as well
    std::ifstream status(process + "/status");
    long held = 0, kb = 0;
    for (std::string word; status >> word;) {
      if ((word == "RssAnon:" || word == "RssFile:") && status >> kb) held += kb;
    }
    if (held == 0 || held > kServerMemoryMax) return corrupt("a server holds " + std::to_string(held) + " KB");
  }
  return {};
}

/// Runs one of the job's trainers from its beginning to its end.
Status train(job::Job& job, const Plan& plan, int trainer) {
  COHAUL_ASSIGN(update::Layout layout,
                update::Layout::of({{"weight", {70'000}, DType::float32, true}, {"bias", {10}, DType::float32, true}}));
  ps::HeapMemory memory;
  Bytes parameters = memory.allocate(layout.bytes()), gradients = memory.allocate(layout.bytes());
  ps::Options options{.servers = job.servers(), .slices = 4 << trainer, .trainer = trainer};
  if (plan.mode == "async") options.consistency = {ps::Consistency::Kind::async, 0};
  if (plan.mode == "bounded") options.consistency = {ps::Consistency::Kind::bounded, 1};
  COHAUL_ASSIGN(auto exchange, ps::make_server_exchange(job, layout, {}, parameters, options));
  COHAUL_TRY(exchange->start(steady_clock().now() + 20 * kSecond));
  for (;;) {
    COHAUL_ASSIGN(std::optional<update::Work> work, exchange->next({.end = kSteps}));
    if (!work) break;
    if (work->step.value >= kDeadlyStep) COHAUL_TRY(commit(job, plan.deed));
    COHAUL_TRY(step(*exchange, layout, *work, gradients));
  }
  if (kMeasuresMemory) COHAUL_TRY(look_at_servers(job));
  COHAUL_ASSIGN(ps::Counts counts, exchange->counts());
  if (plan.mode != "sync" && counts.coordinator.pushes != kSteps) return corrupt("not every step was pushed once");

  // All gradients are exact in float32, so the order of updates does not matter either.
  Bytes expected = memory.allocate(layout.bytes());
  auto local = update::make_local_exchange(layout, {}, {}, expected);
  for (std::int64_t s = 0; s < kSteps; ++s) COHAUL_TRY(step(*local, layout, {Step(s), {0, 1, 1}}, gradients));
  if (std::memcmp(expected.data(), parameters.data(), expected.size()) != 0)
    return corrupt("other parameters than one process has");
  return exchange->close();
}

Status run(const Plan& plan) {
  COHAUL_ASSIGN(job::JoinOptions options, job::from_environment());
  COHAUL_ASSIGN(auto job, job::Job::join(options));
  for (int trainer = 0; trainer < kTrainers; ++trainer) {
    if (Status trained = train(*job, plan, trainer); !trained.ok()) {
      job->report_failure(trained);
      return trained;
    }
    // Between two trainers no worker is connected to the servers, but they must not end.
    COHAUL_TRY(job->barrier("trainer " + std::to_string(trainer), job->world(), steady_clock().now() + 20 * kSecond));
  }
  return job->close();
}

}  // namespace

int main(int argc, char** argv) {
  Plan plan;
  if (argc > 1) plan.mode = argv[1];
  if (argc > 2) plan.deed = argv[2];
  Status status = run(plan);
  if (!status.ok()) std::fprintf(stderr, "ps_worker: %s\n", status.message().c_str());
  return status.ok() ? 0 : status.code() == Code::peer_lost ? 3 : 1;
}
