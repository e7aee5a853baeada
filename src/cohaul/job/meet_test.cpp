// Meetings and absences among real members: threads that share nothing but the job.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "cohaul/job/connect.h"
#include "cohaul/job/meeting.h"
#include "cohaul/job/test_workers.h"

namespace cohaul::job {
namespace {

Time in(double s) { return steady_clock().now() + seconds(s); }

Meeting meeting(std::int64_t number, std::string purpose, std::int64_t progress = 0, std::string facts = "") {
  return {"trainer 0", number, std::move(purpose), progress, std::move(facts)};
}

/// Waits as a worker that waits for a step does: until absent() says why it should not.
Status wait_for_step(Job& job, std::int64_t meetings, std::int64_t step, Time deadline) {
  auto poller = *transport::make_poller();
  job.wake_on_loss(poller.get());
  Status told;
  while (told.ok() && steady_clock().now() < deadline) {
    told = job.absent("trainer 0", meetings, step);
    if (told.ok()) (void)poller->wait(deadline).ok();
  }
  job.forget(poller.get());
  return told;
}

TEST(MeetTest, AloneOneHasAllWithIt) {
  auto job = *Job::join({});
  EXPECT_TRUE(job->meet(meeting(0, "fit()"), in(1)).ok());
  EXPECT_TRUE(job->absent("trainer 0", 0, 0).ok());
  EXPECT_TRUE(job->left(0).ok());
  EXPECT_EQ(job->meet(meeting(-1, "fit()"), in(1)).code(), Code::invalid);
}

TEST(MeetTest, WorkersMeet) {
  std::atomic<int> came = 0;
  with_workers(3, [&](Job& job) {
    for (std::int64_t n = 0; n < 20; ++n) {
      ++came;
      Status met = job.meet(meeting(n, "fit()", n, "seed=1\n"), in(10));
      ASSERT_TRUE(met.ok()) << met.message();
      EXPECT_GE(came, 3 * (n + 1));
      if (n == 19) break;  // after the last one others may go
      EXPECT_TRUE(job.absent("trainer 0", n + 1, n).ok());
    }
    EXPECT_TRUE(job.close().ok());
  });
}

TEST(MeetTest, AllLearnThatTheyDoNotDoTheSame) {
  with_workers(2, [](Job& job) {
    Status met = job.meet(meeting(0, job.rank() == 0 ? "evaluate()" : "close()", 5), in(10));
    EXPECT_EQ(met.code(), Code::invalid);
    EXPECT_EQ(met.message(),
              "trainer 0: worker 0 is in evaluate() after 5 steps, worker 1 in close() after 5 steps: all workers must "
              "make the same calls in the same order");
    met = job.meet(meeting(1, "fit()", 5, job.rank() == 0 ? "train.batch=100\n" : "train.batch=64\n"), in(10));
    EXPECT_EQ(met.message(),
              "trainer 0: train.batch is 100 at worker 0 and 64 at worker 1: it must be the same at all workers");
    (void)job.barrier("end", 2, in(10)).ok();
    EXPECT_TRUE(job.close().ok());
  });
}

TEST(MeetTest, WhoDoesNotComeIsNamedAtTheDeadline) {
  with_workers(2, [](Job& job) {
    if (job.rank() == 0) {
      Status met = job.meet(meeting(0, "evaluate()", 5), in(0.3));
      EXPECT_EQ(met.code(), Code::peer_lost);
      EXPECT_NE(met.message().find("in vain for worker 1 (last operation: "), std::string::npos) << met.message();
    }
    EXPECT_TRUE(job.barrier("end", 2, in(10)).ok());
    EXPECT_TRUE(job.close().ok());
  });
}

TEST(AbsentTest, WhoWaitsAtAMeetingWillNotComeToAStep) {
  with_workers(3, [](Job& job) {
    ASSERT_TRUE(job.meet(meeting(0, "fit()"), in(10)).ok());
    if (job.rank() == 1) {
      EXPECT_EQ(job.meet(meeting(1, "close()", 9), in(10)).code(), Code::invalid);
    } else {
      Status told = wait_for_step(job, 1, 9, in(10));
      EXPECT_EQ(told.code(), Code::invalid);
      EXPECT_EQ(told.message(),
                "worker 1 is in close() after 9 steps, while this worker is in step 10: all workers must make the same "
                "calls");
      EXPECT_TRUE(job.absent("trainer 0", 1, 8).ok()) << "to that step it came";
      EXPECT_TRUE(job.absent("trainer 0", 2, 9).ok()) << "to that meeting this worker came, too";
      EXPECT_TRUE(job.absent("trainer 1", 0, 9).ok());
      EXPECT_EQ(job.meet(meeting(1, "fit()", 10), in(10)).code(), Code::invalid);  // ends the meeting
    }
    EXPECT_TRUE(job.barrier("end", 3, in(10)).ok());
    EXPECT_TRUE(job.close().ok());
  });
}

TEST(AbsentTest, AMeetingThatCameAboutIsOldNews) {
  with_workers(2, [](Job& job) {
    if (job.rank() == 0) {
      EXPECT_FALSE(wait_for_step(job, 0, 3, in(10)).ok());
      EXPECT_TRUE(job.meet(meeting(0, "evaluate()", 4), in(10)).ok());
      EXPECT_TRUE(job.absent("trainer 0", 0, 3).ok()) << "forgotten";
    } else {
      EXPECT_TRUE(job.meet(meeting(0, "evaluate()", 3), in(10)).ok());
    }
    EXPECT_TRUE(job.barrier("end", 2, in(10)).ok());
    EXPECT_TRUE(job.close().ok());
  });
}

TEST(AbsentTest, WhoHasLeftTheJobWillNotComeToAnything) {
  with_workers(3, [](Job& job) {
    ASSERT_TRUE(job.meet(meeting(0, "fit()", 9), in(10)).ok());
    if (job.rank() == 1) {
      EXPECT_TRUE(job.close().ok());
      return;
    }
    const Time before = steady_clock().now();
    Status told = wait_for_step(job, 1, 9, in(10));
    EXPECT_EQ(told.message().rfind("worker 1 has left the job", 0), 0u) << told.message();
    EXPECT_EQ(job.left(1).message(), "worker 1 has left the job");
    EXPECT_TRUE(job.left(0).ok() && job.left(2).ok());
    Status met = job.meet(meeting(1, "evaluate()", 10), in(10));
    EXPECT_EQ(met.code(), Code::invalid);
    EXPECT_EQ(met.message().rfind("worker 1 has left the job after 9 steps of trainer 0", 0), 0u) << met.message();
    EXPECT_EQ(job.barrier("b", 3, in(10)).code(), Code::invalid);
    EXPECT_EQ(job.get_from(1, "its", in(10)).status().code(), Code::invalid);
    EXPECT_LT(steady_clock().now() - before, 5 * kSecond) << "at once";
    EXPECT_TRUE(job.health().ok()) << "and it is no loss";
    EXPECT_TRUE(job.barrier("both", 2, in(10)).ok());
    EXPECT_TRUE(job.close().ok());
  });
}

TEST(AbsentTest, NobodyConnectsToWhoHasLeft) {
  // The worker that leaves is lower than one that waits for its address, or higher than one that waits for it to
  // connect.
  for (int leaver : {0, 2}) {
    with_workers(3, [&](Job& job) {
      auto poller = *transport::make_poller();
      if (job.rank() == leaver) {
        // Also one that has published its address and is gone.
        if (leaver == 0) {
          auto endpoint = *transport::listen(*poller, job.identity("group", 1), job.listening());
          EXPECT_TRUE(job.set("address/group/0", endpoint->address().encode()).ok());
        }
        EXPECT_TRUE(job.close().ok());
        return;
      }
      const Time before = steady_clock().now();
      for (const char* purpose : {"group", "another"}) {
        auto channels = connect_workers(job, *poller, purpose, 1, in(15));
        EXPECT_EQ(channels.status().code(), Code::invalid);
        EXPECT_NE(channels.status().message().find("worker " + std::to_string(leaver) + " has left the job"),
                  std::string::npos)
            << channels.status().message();
      }
      EXPECT_LT(steady_clock().now() - before, 10 * kSecond) << "at once";
      EXPECT_TRUE(job.barrier("both", 2, in(10)).ok());
      EXPECT_TRUE(job.close().ok());
    });
  }
}

TEST(AbsentTest, GoodbyesAtTheEndDisturbNobody) {
  with_workers(4, [](Job& job) {
    ASSERT_TRUE(job.meet(meeting(0, "close()", 9), in(10)).ok());
    std::this_thread::sleep_for(std::chrono::milliseconds(50 * job.rank()));
    EXPECT_TRUE(job.health().ok());
    Status closed = job.close();
    EXPECT_TRUE(closed.ok()) << closed.message();
  });
}

TEST(JoinTest, WorkersOfOtherNumbersDoNotWaitForEachOther) {
  const std::string address = free_address();
  std::vector<std::thread> threads;
  for (int rank = 0; rank < 2; ++rank) {
    threads.emplace_back([&, rank] {
      JoinOptions o;
      o.rank = rank;
      o.world = 2 + rank;
      o.address = address;
      o.join_timeout_s = 20;
      const Time before = steady_clock().now();
      Status refused = Job::join(o).status();
      EXPECT_EQ(refused.code(), rank == 1 ? Code::invalid : Code::peer_lost);
      EXPECT_NE(refused.message().find("worker 1: counts 3 workers in the job, worker 0 counts 2"), std::string::npos)
          << refused.message();
      EXPECT_LT(steady_clock().now() - before, 10 * kSecond);
    });
  }
  for (auto& t : threads) t.join();
}

}  // namespace
}  // namespace cohaul::job
