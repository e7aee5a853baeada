#include <cohaul/core.h>

#include <cstdio>
#include <vector>

// Needs no LibTorch. Sums a vector over all workers: cohaul launch --workers 4 -- ./sums
int main() {
  try {
    auto job = cohaul::or_throw(cohaul::Job::join(cohaul::or_throw(cohaul::from_environment())));
    {
      auto workers = cohaul::connect_workers(*job, "sums");
      std::vector<float> values(1000, static_cast<float>(job->rank() + 1));
      cohaul::or_throw(workers->group().all_reduce(cohaul::collective::buffer(values)));  // the same bits at all workers
      if (job->rank() == 0) std::printf("the sum over %d workers is %g\n", job->world(), values[0]);
    }
    cohaul::or_throw(job->close());  // says goodbye, so that this process's end is no loss to the others
    return 0;
  } catch (const cohaul::Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return cohaul::exit_code(e.code());
  }
}
