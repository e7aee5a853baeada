#include "cohaul/job/member_session.h"

#include <gtest/gtest.h>

namespace cohaul::job {
namespace {

using transport::Role;

constexpr Duration kPeerTimeout = 2 * kSecond, kInterval = 100 * kMillisecond;

class MemberSessionTest : public ::testing::Test {
 protected:
  static ControlMessage message(ControlKind kind, std::int64_t request = 0, std::string value = "") {
    ControlMessage m;
    m.kind = kind;
    m.request = request;
    m.value = std::move(value);
    return m;
  }
  std::int64_t get(const std::string& key, Duration timeout, Time now) {
    ControlMessage m = message(ControlKind::get);
    m.key = key;
    m.timeout_ms = timeout / kMillisecond;
    return session.call(std::move(m), now);
  }
  void reply(std::int64_t request, const Status& status, std::string value, Time now) {
    session.received(make_reply(request, status, std::move(value)), now);
  }
  void hear_alive(Time now) { session.received(message(ControlKind::alive), now); }
  void hear_loss(Time now) {
    session.received(message(ControlKind::lost, 0, encode_loss({{Role::worker, 2}, "killed", "step 17"})), now);
  }
  void hear_left(int worker, Time now) { session.received(message(ControlKind::left, 0, encode_ranks({worker})), now); }
  void hear_waits(int worker, std::int64_t number, std::int64_t progress, Time now) {
    const Meeting meeting{"trainer 0", number, "evaluate()", progress, ""};
    session.received(message(ControlKind::waits, 0, encode_absence({worker, meeting})), now);
  }
  /// What it says when it has nothing else to say: whether it waits, and what it does.
  void advance(Time now) { session.advance(MemberSession::kWaits, "step 3", now); }
  std::vector<ControlKind> said() {
    std::vector<ControlKind> out;
    for (const ControlMessage& m : session.take_outgoing()) out.push_back(m.kind);
    return out;
  }

  MemberSession session{{.host = {Role::worker, 0}, .peer_timeout = kPeerTimeout}, 0};
};

using Kinds = std::vector<ControlKind>;

TEST_F(MemberSessionTest, ACallIsAnsweredOnceByItsReply) {
  const std::int64_t a = get("a", kSecond, 0), b = get("b", kSecond, 0);
  const auto sent = session.take_outgoing();
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[0].request, a);
  EXPECT_EQ(sent[1].key, "b");
  EXPECT_FALSE(session.take_answer(a, 1));
  reply(b, {}, "value", 1);
  reply(a, invalid("it is too large"), "", 1);
  EXPECT_EQ(**session.take_answer(b, 1), "value");
  const auto refused = session.take_answer(a, 1);
  EXPECT_EQ(refused->status().code(), Code::invalid);
  EXPECT_EQ(refused->status().message(), "it is too large");
  reply(b, {}, "again", 2);  // no call waits for it
  EXPECT_FALSE(session.take_alarm());
}

TEST_F(MemberSessionTest, ACallIsGivenUpALittleAfterItsTimeout) {
  const std::int64_t a = get("a", kSecond, 0);
  ControlMessage leave = message(ControlKind::leave);
  leave.timeout_ms = 500;
  const std::int64_t b = session.call(std::move(leave), 0);
  EXPECT_EQ(session.deadline_of(a), 2 * kSecond);
  EXPECT_FALSE(session.take_answer(b, 1500 * kMillisecond - 1));
  EXPECT_EQ(session.take_answer(b, 1500 * kMillisecond)->status().message(), "worker 0 has not answered in time");
  reply(b, {}, "", 1500 * kMillisecond);  // no call waits for it any more
  EXPECT_FALSE(session.take_answer(a, 2 * kSecond - 1));
  const auto late = session.take_answer(a, 2 * kSecond);
  EXPECT_EQ(late->status().code(), Code::peer_lost);
  EXPECT_EQ(late->status().message(), "worker 0 has not answered in time, asked for 'a'");
  EXPECT_TRUE(session.health().ok()) << "a call that is given up is no loss";
}

TEST_F(MemberSessionTest, AReplyThatHasComeCountsMoreThanALossAndADeadline) {
  const std::int64_t a = get("a", kSecond, 0), b = get("b", kSecond, 0);
  reply(a, {}, "value", 1);
  hear_loss(1);
  EXPECT_EQ(**session.take_answer(a, kPeerTimeout), "value");
  EXPECT_EQ(session.take_answer(b, 1)->status().message(), session.health().message());
}

TEST_F(MemberSessionTest, HeartbeatsSayWhatTheProcessDoesAndSinceWhenItHasNotWaited) {
  EXPECT_EQ(session.next_time(), 0);
  advance(0);
  EXPECT_EQ(session.next_time(), kInterval / 2) << "sooner at first";
  session.advance(0, "backward", kInterval / 2 - 1);
  session.advance(50 * kMillisecond, "backward", kInterval);
  const auto sent = session.take_outgoing();
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[0].kind, ControlKind::heartbeat);
  EXPECT_EQ(sent[0].number, 0u) << "it waits";
  EXPECT_EQ(sent[0].value, "step 3");
  EXPECT_EQ(sent[1].number, 50u);
  EXPECT_EQ(sent[1].value, "backward");
  EXPECT_EQ(session.next_time(), 2 * kInterval);
  session.advance(2 * kInterval, "backward", 2 * kInterval);
  EXPECT_EQ(session.take_outgoing()[0].number, 1u) << "it does not wait, though not yet for a millisecond";
  EXPECT_EQ(MemberSession::heartbeat_interval(100 * kMillisecond), 20 * kMillisecond);
  EXPECT_EQ(MemberSession::heartbeat_interval(kSecond * 60), 500 * kMillisecond);
}

TEST_F(MemberSessionTest, ARendezvousThatIsSilentIsLost) {
  const std::int64_t a = get("a", 60 * kSecond, 0);
  advance(0);
  hear_alive(kSecond);
  advance(kSecond + kPeerTimeout - 1);
  EXPECT_TRUE(session.connected());
  EXPECT_EQ(session.next_time(), kSecond + kPeerTimeout);
  EXPECT_TRUE(session.health().ok());
  advance(kSecond + kPeerTimeout);
  EXPECT_EQ(session.health().message(), "worker 0: no answer to heartbeats for 2.0 s");
  EXPECT_FALSE(session.connected()) << "its connection is to be closed";
  EXPECT_EQ(said(), Kinds()) << "nobody hears it";
  EXPECT_TRUE(session.take_alarm());
  EXPECT_EQ(session.next_time(), kForever);
  EXPECT_EQ(session.ends_at(), kSecond + kPeerTimeout + MemberSession::kEndGrace);
  EXPECT_EQ(session.take_answer(a, kSecond + kPeerTimeout)->status().message(), session.health().message());
}

TEST_F(MemberSessionTest, AClosedConnectionIsTheLossOfItsHost) {
  const std::int64_t a = get("a", kSecond, 0);
  session.disconnected("its connection closed: reset", 7);
  EXPECT_EQ(session.loss()->who, (MemberKey{Role::worker, 0}));
  EXPECT_EQ(session.health().message(), "worker 0: its connection closed: reset");
  EXPECT_EQ(session.health().code(), Code::peer_lost);
  EXPECT_FALSE(session.connected());
  EXPECT_EQ(session.take_answer(a, 7)->status().message(), session.health().message());
  session.post(message(ControlKind::meet));
  advance(kSecond);
  EXPECT_EQ(said(), Kinds());
}

TEST_F(MemberSessionTest, ALossThatIsAnnouncedAnswersAllCallsAndTheConnectionGoesOn) {
  const std::int64_t a = get("a", 60 * kSecond, 0);
  (void)said();
  hear_loss(5);
  EXPECT_EQ(session.loss()->who, (MemberKey{Role::worker, 2}));
  EXPECT_EQ(session.take_answer(a, 5)->status().message(), "worker 2: killed; last operation: step 17");
  EXPECT_TRUE(session.take_alarm());
  EXPECT_FALSE(session.take_alarm());
  const std::int64_t late = get("b", kSecond, 6);
  EXPECT_EQ(session.take_answer(late, 6)->status().message(), session.health().message()) << "at once";
  session.post(message(ControlKind::meet));
  advance(kInterval);
  EXPECT_EQ(said(), (Kinds{ControlKind::meet, ControlKind::heartbeat})) << "the late call is not asked";
}

TEST_F(MemberSessionTest, TheFirstLossDecidesAlsoWhenTheProcessIsEnded) {
  EXPECT_EQ(session.ends_at(), kForever);
  hear_loss(5);
  session.disconnected("its connection closed", kSecond);
  session.lose({{Role::launcher, 0}, "its engine has ended"}, 2 * kSecond);
  EXPECT_EQ(session.loss()->who, (MemberKey{Role::worker, 2}));
  EXPECT_EQ(session.ends_at(), 5 + MemberSession::kEndGrace);
}

TEST_F(MemberSessionTest, ABrokenLossIsTheLossOfWhoTellsIt) {
  session.received(message(ControlKind::lost, 0, "?"), 5);
  EXPECT_EQ(session.loss()->who, (MemberKey{Role::worker, 0}));
  EXPECT_EQ(session.health().message(), "worker 0: a broken message of a loss");
}

TEST_F(MemberSessionTest, WhoWaitsAtAMeetingDoesNotComeToAStep) {
  EXPECT_TRUE(session.absent("trainer 0", 0, 5).ok());
  hear_waits(1, 2, 5, 0);
  EXPECT_TRUE(session.take_alarm());
  EXPECT_TRUE(session.has_news());
  EXPECT_EQ(session.absent("trainer 0", 2, 5).message(),
            "worker 1 is in evaluate() after 5 steps, while this worker is in step 6: all workers must make the same "
            "calls");
  EXPECT_EQ(session.absent("trainer 0", 2, 5).code(), Code::invalid);
  EXPECT_TRUE(session.absent("trainer 0", 2, 4).ok()) << "it did that step";
  EXPECT_TRUE(session.absent("trainer 0", 3, 5).ok()) << "this worker has been to that meeting";
  EXPECT_TRUE(session.absent("trainer 1", 0, 5).ok());
  EXPECT_TRUE(session.left(1).ok());
}

TEST_F(MemberSessionTest, AMeetingWithAllMakesNewsOfItOldAndNoLaterOnes) {
  hear_waits(1, 2, 5, 0);
  hear_waits(2, 3, 5, 0);
  session.met({"trainer 1", 9, "", 0, ""});
  session.met({"trainer 0", 2, "", 0, ""});
  EXPECT_TRUE(session.absent("trainer 0", 2, 5).message().starts_with("worker 2 is in evaluate()"));
  session.met({"trainer 0", 3, "", 0, ""});
  EXPECT_FALSE(session.has_news());
  hear_waits(1, 2, 5, 0);  // that were on their way: older than what this worker asks for
  EXPECT_TRUE(session.absent("trainer 0", 4, 5).ok());
}

TEST_F(MemberSessionTest, WhoHasLeftComesToNothing) {
  hear_left(3, 0);
  EXPECT_TRUE(session.take_alarm());
  EXPECT_EQ(session.left(3).message(), "worker 3 has left the job");
  EXPECT_TRUE(session.left(2).ok());
  EXPECT_TRUE(session.absent("trainer 0", 0, 0).message().starts_with("worker 3 has left the job, while"));
  session.met({"trainer 0", 9, "", 0, ""});
  EXPECT_TRUE(session.has_news()) << "no meeting brings it back";
}

}  // namespace
}  // namespace cohaul::job
