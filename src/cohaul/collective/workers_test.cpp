#include "cohaul/collective/workers.h"

#include <gtest/gtest.h>

#include <vector>

#include "cohaul/job/test_workers.h"

namespace cohaul::collective {
namespace {

using job::with_workers;

TEST(Workers, AreOnOneHostWhereTheyShareMemory) {
  with_workers(1, [](job::Job& job) { EXPECT_EQ(hosts_of(job), std::vector{0}); });
  with_workers(3, [](job::Job& job) { EXPECT_EQ(hosts_of(job), (std::vector{0, 0, 0})); });
  const auto each = [](job::Job& job) { EXPECT_EQ(hosts_of(job), (std::vector{0, 1, 2})); };
  with_workers(3, each, 5, transport::Form::tcp);
}

TEST(Workers, OfAProgramSumOverAllWorkers) {
  with_workers(3, [](job::Job& job) {
    const auto workers = connect_workers(job, "sums");
    std::vector<double> values = {1.0 + job.rank(), 10};
    ASSERT_TRUE(workers->group().all_reduce(buffer(values)).ok());
    EXPECT_EQ(values, (std::vector<double>{6, 30}));
  });
}

}  // namespace
}  // namespace cohaul::collective
