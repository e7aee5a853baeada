#include "cohaul/job/membership.h"

#include <gtest/gtest.h>

#include "cohaul/base/exit_code.h"
#include "cohaul/job/store.h"

namespace cohaul::job {
namespace {

using transport::Role;
constexpr MemberKey w(int rank) { return {Role::worker, rank}; }
constexpr MemberKey s(int rank) { return {Role::server, rank}; }

Member member(MemberKey who, std::uint64_t incarnation = 1) {
  Member m;
  m.role = who.role;
  m.rank = who.rank;
  m.pid = 100 + who.rank;
  m.host = "here";
  m.incarnation = Incarnation(incarnation);
  return m;
}

class MembershipTest : public ::testing::Test {
 protected:
  void start(int workers, int servers, bool must_join = true) {
    Membership::Options o;
    o.workers = workers;
    o.servers = servers;
    o.peer_timeout = 2 * kSecond;
    o.join_timeout = 60 * kSecond;
    o.must_join = must_join;
    m.emplace(o, now);
  }
  void join_all(int workers, int servers) {
    start(workers, servers);
    for (int i = 0; i < workers; ++i) ASSERT_TRUE(m->join(member(w(i)), now).ok());
    for (int i = 0; i < servers; ++i) ASSERT_TRUE(m->join(member(s(i)), now).ok());
    auto d = m->decide(now);
    ASSERT_EQ(d.size(), 1u);
    ASSERT_EQ(d[0].kind, Decision::Kind::assembled);
  }
  /// Lets time pass in small steps: all in `alive` send heartbeats, `computing` has not waited for others since now.
  /// Returns the first decision.
  std::optional<Decision> run(Duration time, std::vector<MemberKey> alive, std::optional<MemberKey> computing = {}) {
    const Time began = now;
    for (Time end = now + time; now < end;) {
      now += 100 * kMillisecond;
      for (MemberKey who : alive) m->heartbeat(who, "step 17", who == computing ? now - began : 0, now);
      auto d = m->decide(now);
      if (!d.empty()) return d[0];
    }
    return std::nullopt;
  }
  Time now = 1000 * kSecond;
  std::optional<Membership> m;
};

TEST_F(MembershipTest, AtADeadlineWhoHasNotWaitedForOthersStandsStill) {
  join_all(3, 1);
  ASSERT_FALSE(run(3 * kSecond, {w(0), w(1), w(2), s(0)}, w(1)).has_value()) << "slow, so far";
  Status told = m->overdue(w(2), 3 * kSecond, now);
  EXPECT_EQ(told.code(), Code::peer_lost);
  auto d = m->decide(now);
  ASSERT_EQ(d.size(), 1u);
  EXPECT_EQ(d[0].kind, Decision::Kind::lost);
  EXPECT_EQ(d[0].loss.who, w(1));
  EXPECT_EQ(d[0].loss.exit_code, 3);
  EXPECT_EQ(d[0].loss.message(),
            "worker 1: stands still: it lives, but has said nothing for 3.0 s while worker 2 waited to its deadline "
            "(job.step_timeout_s); last operation: step 17; pid 101 on here");
  EXPECT_EQ(told.message(), d[0].loss.message());
  EXPECT_EQ(m->overdue(w(0), 3 * kSecond, now).message(), told.message()) << "the second to ask hears the same";
}

TEST_F(MembershipTest, AtADeadlineNobodyStandsOutWhereAllWaitOrComputeForAShortTime) {
  join_all(3, 1);
  ASSERT_FALSE(run(3 * kSecond, {w(0), w(1), w(2), s(0)}).has_value());
  ASSERT_FALSE(run(1 * kSecond, {w(0), w(1), w(2), s(0)}, w(1)).has_value());
  EXPECT_TRUE(m->overdue(w(2), 4 * kSecond, now).ok())
      << "a server waits for a message that was lost, or all wait in a ring";
  EXPECT_TRUE(m->decide(now).empty());
}

TEST_F(MembershipTest, WhoHasLeftOrAsksDoesNotStandStill) {
  join_all(2, 0);
  ASSERT_FALSE(run(3 * kSecond, {w(0), w(1)}, w(1)).has_value());
  EXPECT_TRUE(m->overdue(w(1), 3 * kSecond, now).ok()) << "it asks, so it waits";
  m->leave(w(1));
  EXPECT_TRUE(m->overdue(w(0), 3 * kSecond, now).ok());
}

TEST_F(MembershipTest, AfterACommitOnlyTheCommitterCounts) {
  join_all(3, 1);
  m->disconnect(w(2), now);  // not believed yet
  ASSERT_TRUE(m->commit(w(0)).ok());
  m->exit(w(1), {true, 9}, now);
  m->exit(s(0), {true, 9}, now);
  EXPECT_FALSE(run(5 * kSecond, {w(0)}).has_value());
  m->leave(w(0));
  auto d = m->decide(now);
  ASSERT_EQ(d.size(), 1u);
  EXPECT_EQ(d[0].kind, Decision::Kind::finished);
  EXPECT_TRUE(d[0].committed);
  EXPECT_TRUE(m->all_gone());
}

TEST_F(MembershipTest, AfterACommitTheSilentAreWaitedForNoLonger) {
  join_all(2, 0);
  ASSERT_TRUE(m->commit(w(0)).ok());
  m->leave(w(0));
  ASSERT_EQ(m->decide(now).size(), 1u);
  EXPECT_FALSE(m->all_gone());
  EXPECT_LE(m->next_decision(), now + 2 * kSecond);
  EXPECT_FALSE(run(3 * kSecond, {}).has_value());
  EXPECT_TRUE(m->all_gone());
}

TEST_F(MembershipTest, TheCommittersOwnDeathIsALoss) {
  join_all(2, 0);
  ASSERT_TRUE(m->commit(w(0)).ok());
  m->exit(w(0), {true, 9}, now);
  auto d = m->decide(now);
  ASSERT_EQ(d.size(), 1u);
  EXPECT_EQ(d[0].loss.who, w(0));
}

TEST_F(MembershipTest, ACommitAfterALossIsRefused) {
  join_all(2, 0);
  m->exit(w(1), {true, 9}, now);
  ASSERT_EQ(m->decide(now).size(), 1u);
  EXPECT_EQ(m->commit(w(0)).code(), Code::peer_lost);
}

TEST_F(MembershipTest, NamesThoseWhoDoNotJoin) {
  start(3, 1);
  ASSERT_TRUE(m->join(member(w(0)), now).ok());
  ASSERT_TRUE(m->join(member(s(0)), now).ok());
  auto d = run(61 * kSecond, {w(0), s(0)});
  ASSERT_TRUE(d);
  EXPECT_EQ(d->kind, Decision::Kind::lost);
  EXPECT_EQ(d->loss.exit_code, 3);
  EXPECT_EQ(d->loss.message(),
            "worker 1: did not join within 60.0 s (job.join_timeout_s); missing: worker 1, worker 2");
}

TEST_F(MembershipTest, RefusesTwoOfOneRankAndStrangers) {
  start(2, 0);
  ASSERT_TRUE(m->join(member(w(0), 1), now).ok());
  EXPECT_TRUE(m->join(member(w(0), 1), now).ok());  // the same process again
  EXPECT_EQ(m->join(member(w(0), 2), now).code(), Code::invalid);
  EXPECT_EQ(m->join(member(w(2)), now).code(), Code::invalid);
  EXPECT_EQ(m->join(member(s(0)), now).code(), Code::invalid);
}

TEST_F(MembershipTest, SilenceIsALoss) {
  join_all(2, 1);
  EXPECT_FALSE(run(10 * kSecond, {w(0), w(1), s(0)}));  // slow is not lost
  auto d = run(10 * kSecond, {w(0), s(0)});
  ASSERT_TRUE(d);
  EXPECT_EQ(d->loss.who, w(1));
  EXPECT_EQ(d->loss.message(), "worker 1: no heartbeat for 2.0 s; last operation: step 17; pid 101 on here");
}

TEST_F(MembershipTest, TheCauseOutranksItsConsequences) {
  join_all(3, 0);
  // What is seen of worker 2's death: its peers fail first, then its connection closes, the signal comes last.
  m->fail(w(0), peer_lost("worker 2 closed the connection"), now);
  m->exit(w(0), {false, 3}, now);
  m->disconnect(w(0), now);
  m->disconnect(w(2), now);
  EXPECT_TRUE(m->decide(now).empty());
  now += 50 * kMillisecond;
  m->exit(w(2), {true, 9}, now);
  auto d = m->decide(now);
  ASSERT_EQ(d.size(), 1u);
  EXPECT_EQ(d[0].loss.message(), "worker 2: killed by signal 9 (SIGKILL); last operation: join; pid 102 on here");
  EXPECT_EQ(d[0].loss.exit_code, 3);
  now += 10 * kSecond;
  EXPECT_TRUE(m->decide(now).empty());  // the first failure decides
}

TEST_F(MembershipTest, WeakEvidenceIsBelievedAfterTheGrace) {
  join_all(2, 0);
  m->fail(w(0), peer_lost("worker 1 closed the connection"), now);
  now += 10 * kMillisecond;
  m->disconnect(w(1), now);
  EXPECT_TRUE(m->decide(now).empty());
  EXPECT_LE(m->next_decision(), now + Membership::kEvidenceGrace);
  auto d = run(kSecond, {w(0)});
  ASSERT_TRUE(d);
  EXPECT_EQ(d->loss.who, w(1));
}

TEST_F(MembershipTest, ExitCodesAreThoseOfTheJob) {
  for (auto [code, expected] : {std::pair{1, 1}, {2, 2}, {3, 3}, {5, 1}, {0, 3}}) {
    join_all(1, 0);
    m->exit(w(0), {false, code}, now);
    auto d = run(kSecond, {});
    ASSERT_TRUE(d);
    EXPECT_EQ(d->kind, Decision::Kind::lost) << code;
    EXPECT_EQ(d->loss.exit_code, expected) << code;
  }
  join_all(1, 0);
  m->fail(w(0), invalid("lr"), now);
  EXPECT_EQ(m->decide(now).at(0).loss.exit_code, 2);
}

TEST_F(MembershipTest, AReportedFailureHasTheExitCodeThatItsProcessEndsWith) {
  for (Code code : {Code::invalid, Code::unavailable, Code::stale, Code::unsupported, Code::corrupt, Code::internal}) {
    join_all(1, 0);
    m->fail(w(0), Status(code, "why"), now);
    EXPECT_EQ(m->decide(now).at(0).loss.exit_code, exit_code(code)) << name(code);
  }
}

TEST_F(MembershipTest, AfterTheGoodbyesNothingIsLost) {
  join_all(2, 1);
  m->leave(w(0));
  m->exit(w(0), {true, 9}, now);
  EXPECT_FALSE(run(5 * kSecond, {w(1), s(0)}));
  m->leave(w(1));
  auto d = m->decide(now);
  ASSERT_EQ(d.size(), 1u);
  EXPECT_EQ(d[0].kind, Decision::Kind::finished);
  m->exit(s(0), {true, 9}, now);
  EXPECT_FALSE(run(5 * kSecond, {}));
}

TEST_F(MembershipTest, ProgramsThatNeverJoinAreLetBe) {
  start(2, 0, false);
  EXPECT_FALSE(run(100 * kSecond, {}));
  m->exit(w(0), {false, 0}, now);
  EXPECT_FALSE(run(5 * kSecond, {}));
  m->exit(w(1), {false, 0}, now);
  EXPECT_EQ(m->decide(now).at(0).kind, Decision::Kind::finished);
  start(2, 0, false);
  ASSERT_TRUE(m->join(member(w(1)), now).ok());
  m->exit(w(0), {false, 0}, now);
  auto d = m->decide(now);  // but here another waits for it
  ASSERT_EQ(d.size(), 1u);
  EXPECT_EQ(d[0].loss.who, w(0));
}

TEST_F(MembershipTest, OwnStandstillIsNotTheMembers) {
  join_all(2, 0);
  now += 1900 * kMillisecond;  // not looked for a while, no heartbeat could be heard
  EXPECT_TRUE(m->decide(now).empty());
  EXPECT_FALSE(run(kSecond, {w(0), w(1)}));
  now += 5 * kSecond;
  auto d = m->decide(now);
  ASSERT_EQ(d.size(), 1u);
  EXPECT_EQ(d[0].loss.who, (MemberKey{Role::launcher, 0}));
}

TEST(StoreTest, ValuesAreWrittenOnceAndWaitedFor) {
  Store store(2);
  Ticket a{1, 1, w(0)}, b{2, 1, w(1)};
  store.get(a, "key", 0, kSecond);
  EXPECT_TRUE(store.take_answers().empty());
  store.set(b, "key", "value");
  auto answers = store.take_answers();
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(answers[1].to.connection, 1u);
  EXPECT_EQ(answers[1].value, "value");
  store.set(b, "key", "value");
  EXPECT_TRUE(store.take_answers().at(0).status.ok());
  store.set(b, "key", "other");
  EXPECT_EQ(store.take_answers().at(0).status.code(), Code::invalid);
  store.get(a, "none", 0, kSecond);
  EXPECT_EQ(store.next_deadline(), kSecond);
  store.expire(kSecond);
  EXPECT_EQ(store.take_answers().at(0).status.message(), "nobody has set 'none' within 1.0 s");
}

TEST(StoreTest, BarriersMeetAndNameTheMissing) {
  Store store(3);
  Ticket a{1, 1, w(0)}, b{2, 1, w(1)}, c{3, 1, w(2)};
  for (int round = 0; round < 2; ++round) {
    for (const Ticket& t : {a, b, c}) store.barrier(t, "x", 3, 0, kSecond);
    EXPECT_EQ(store.take_answers().size(), 3u);
  }
  store.barrier(a, "x", 3, 0, kSecond);
  store.barrier(c, "x", 3, 0, 2 * kSecond);
  store.barrier(b, "x", 2, 0, kSecond);
  EXPECT_EQ(store.take_answers().at(0).status.code(), Code::invalid);
  store.expire(kSecond);
  EXPECT_EQ(store.take_answers().at(0).status.message(),
            "barrier 'x': 2 of 3 have come within 1.0 s; missing: worker 1");
  store.forget(3);
  EXPECT_EQ(store.next_deadline(), kForever);
}

}  // namespace
}  // namespace cohaul::job
