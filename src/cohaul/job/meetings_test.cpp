#include "cohaul/job/meetings.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <numeric>

#include "cohaul/job/rendezvous.h"

namespace cohaul::job {
namespace {

using transport::Role;

constexpr Duration kTimeout = 2 * kSecond;

Ticket ticket(int worker) { return {static_cast<std::uint64_t>(worker) + 1, 1, {Role::worker, worker}}; }

Meeting meeting(std::string purpose, std::int64_t progress = 5, std::string facts = "", std::int64_t number = 0) {
  return {"trainer 0", number, std::move(purpose), progress, std::move(facts)};
}

std::string step_17(MemberKey) { return "step 17"; }

/// Returns the one answer that each worker got since the last call; "" when ok, "none" where there is none.
std::map<int, std::string> answers_of(Meetings& m) {
  std::map<int, std::string> out;
  for (const Answer& a : m.take_answers()) {
    EXPECT_TRUE(out.emplace(a.to.who.rank, a.status.message()).second) << "answered twice";
  }
  return out;
}

using Said = std::map<int, std::string>;

TEST(MeetingsTest, AllAreAnsweredWhenAllHaveCome) {
  Meetings m(3);
  for (std::int64_t number = 0; number < 2; ++number) {
    m.meet(ticket(2), meeting("evaluate()", 5, "a=1\n", number), 0, kTimeout);
    m.meet(ticket(0), meeting("evaluate()", 6, "a=1\n", number), 0, kTimeout);
    EXPECT_EQ(answers_of(m), Said());
    m.meet(ticket(1), meeting("evaluate()", 5, "a=1\n", number), 0, kTimeout);
    EXPECT_EQ(answers_of(m), (Said{{0, ""}, {1, ""}, {2, ""}}));
  }
  EXPECT_EQ(m.next_time(), kForever);
}

TEST(MeetingsTest, OtherPurposesAreToldToAllWhoAreThereAndWhoComeLater) {
  Meetings m(3);
  m.meet(ticket(1), meeting("close()"), 0, kTimeout);
  m.meet(ticket(0), meeting("evaluate()", 1), 0, kTimeout);
  const std::string said =
      "trainer 0: worker 0 is in evaluate() after 1 step, worker 1 in close() after 5 steps: all workers must make "
      "the same calls in the same order";
  EXPECT_EQ(answers_of(m), (Said{{0, said}, {1, said}}));
  m.meet(ticket(2), meeting("close()"), 0, kTimeout);
  EXPECT_EQ(answers_of(m), (Said{{2, said}}));
  EXPECT_EQ(m.next_time(), kForever);
}

TEST(MeetingsTest, OtherFactsAreToldWithBothValues) {
  Meetings m(2);
  m.meet(ticket(1), meeting("fit()", 0, "train.batch=64\n"), 0, kTimeout);
  m.meet(ticket(0), meeting("fit()", 0, "train.batch=100\n"), 0, kTimeout);
  const std::string said =
      "trainer 0: train.batch is 100 at worker 0 and 64 at worker 1: it must be the same at all workers";
  EXPECT_EQ(answers_of(m), (Said{{0, said}, {1, said}}));
}

TEST(MeetingsTest, GroupsDoNotMeetEachOther) {
  Meetings m(2);
  m.meet(ticket(0), meeting("fit()"), 0, kTimeout);
  Meeting other = meeting("fit()");
  other.group = "trainer 1";
  m.meet(ticket(1), other, 0, kTimeout);
  EXPECT_EQ(answers_of(m), Said());
  m.expire(kTimeout, step_17);
  EXPECT_EQ(
      answers_of(m).at(0),
      "trainer 0: worker 0 is in fit() after 5 steps, and has waited 2.0 s in vain for worker 1 (in fit() after 5 "
      "steps of trainer 1)");
}

TEST(MeetingsTest, AtADeadlineTheMissingAreNamedWithWhatTheyDo) {
  Meetings m(3);
  m.meet(ticket(1), meeting("close()"), 0, kTimeout);
  EXPECT_EQ(m.next_time(), Meetings::kTellAfter);
  m.expire(kTimeout - 1, step_17);
  EXPECT_EQ(answers_of(m), Said());
  m.expire(kTimeout, step_17);
  EXPECT_EQ(answers_of(m), (Said{{1,
                                  "trainer 0: worker 1 is in close() after 5 steps, and has waited 2.0 s in vain for "
                                  "worker 0 (last operation: step 17), worker 2 (last operation: step 17)"}}));
  m.meet(ticket(0), meeting("close()"), kTimeout, kTimeout);
  m.meet(ticket(2), meeting("close()"), kTimeout, kTimeout);
  EXPECT_EQ(answers_of(m), Said()) << "worker 1 has given up";
  m.meet(ticket(1), meeting("close()"), kTimeout, kTimeout);
  EXPECT_EQ(answers_of(m), (Said{{0, ""}, {1, ""}, {2, ""}}));
}

TEST(MeetingsTest, WhoComesTwiceIsRefusedAlone) {
  Meetings m(2);
  m.meet(ticket(0), meeting("fit()"), 0, kTimeout);
  m.meet(ticket(0), meeting("close()"), 0, kTimeout);
  EXPECT_NE(answers_of(m).at(0).find("worker 0 is in fit() after 5 steps already"), std::string::npos);
  m.meet(ticket(1), meeting("fit()"), 0, kTimeout);
  EXPECT_EQ(answers_of(m), (Said{{0, ""}, {1, ""}}));
  m.meet(ticket(1), meeting("fit()"), 0, kTimeout);
  EXPECT_NE(answers_of(m).at(1).find("comes to meeting 0, which is over"), std::string::npos);
  m.meet({9, 1, {Role::server, 0}}, meeting("fit()", 5, "", 1), 0, kTimeout);
  EXPECT_EQ(m.take_answers().at(0).status.code(), Code::invalid);
}

TEST(MeetingsTest, WhoHasLeftTheJobIsNotWaitedFor) {
  Meetings m(2);
  for (int w : {0, 1}) m.meet(ticket(w), meeting("fit()", 9), 0, kTimeout);
  answers_of(m);
  m.meet(ticket(0), meeting("evaluate()", 10, "", 1), 0, kTimeout);
  m.leave(1);
  EXPECT_EQ(answers_of(m), (Said{{0,
                                  "worker 1 has left the job after 9 steps of trainer 0, and worker 0 waits for it in "
                                  "evaluate() after 10 steps of trainer 0: all workers must make the same calls"}}));
  m.meet(ticket(0), {"trainer 1", 0, "fit()", 0, ""}, 0, kTimeout);
  EXPECT_EQ(answers_of(m).at(0).rfind("worker 1 has left the job, and worker 0 waits for it in fit()", 0), 0u);
}

TEST(MeetingsTest, WhoHasWaitedForAWhileIsToldOfOnce) {
  Meetings m(2);
  m.meet(ticket(1), meeting("close()", 9, "a=1\n", 3), 0, kTimeout);
  m.expire(Meetings::kTellAfter - 1, step_17);
  EXPECT_TRUE(m.take_absences().empty());
  m.expire(Meetings::kTellAfter, step_17);
  auto told = m.take_absences();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].worker, 1);
  EXPECT_EQ(told[0].meeting.number, 3);
  EXPECT_EQ(told[0].meeting.progress, 9);
  EXPECT_EQ(told[0].meeting.purpose, "close()");
  m.expire(2 * Meetings::kTellAfter, step_17);
  EXPECT_TRUE(m.take_absences().empty());
}

TEST(MeetingsTest, OfManyWhoWaitOneIsToldOfWhoHasDoneTheFewestSteps) {
  Meetings m(5);
  constexpr Duration kLater = 10 * kMillisecond;
  m.meet(ticket(3), meeting("close()", 7), 0, kTimeout);
  m.meet(ticket(2), meeting("close()", 7), 0, kTimeout);
  m.meet(ticket(1), meeting("close()", 8), kLater, kTimeout);
  m.meet(ticket(0), meeting("close()", 5), kLater, kTimeout);
  m.expire(Meetings::kTellAfter, step_17);
  auto told = m.take_absences();
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].worker, 2);
  EXPECT_EQ(m.next_time(), Meetings::kTellAfter + kLater);
  m.expire(Meetings::kTellAfter + kLater, step_17);
  told = m.take_absences();
  ASSERT_EQ(told.size(), 1u) << "after fewer steps: that is news";
  EXPECT_EQ(told[0].worker, 0);
  EXPECT_EQ(m.next_time(), kTimeout) << "and nothing else will be";
}

TEST(MeetingsTest, WhoIsGoneWaitsNoMore) {
  Meetings m(2);
  m.meet(ticket(1), meeting("close()"), 0, kTimeout);
  m.forget(ticket(1).connection);
  EXPECT_EQ(m.next_time(), kForever);
  m.meet(ticket(0), meeting("close()"), 0, kTimeout);
  EXPECT_EQ(answers_of(m), Said());
}

// All agree: all are answered ok. Else all learn that they do not, whatever the order in which they come.
RC_GTEST_PROP(MeetingsProperty, AnyOrderGivesTheSameVerdict, ()) {
  const int workers = *rc::gen::inRange(2, 6);
  std::vector<Meeting> all;
  bool agree = true;
  for (int w = 0; w < workers; ++w) {
    const bool other = *rc::gen::weightedElement<bool>({{6, false}, {1, true}});
    const bool facts = *rc::gen::arbitrary<bool>();
    all.push_back(
        meeting(other && !facts ? "close()" : "fit()", *rc::gen::inRange(0, 9), other && facts ? "a=2\n" : "a=1\n"));
    agree &= all[0].purpose == all.back().purpose && all[0].facts == all.back().facts;
  }
  std::vector<int> order(static_cast<std::size_t>(workers));
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[*rc::gen::inRange<std::size_t>(0, i)]);

  Meetings m(workers);
  std::map<int, Code> verdicts;
  for (int w : order) {
    m.meet(ticket(w), all[static_cast<std::size_t>(w)], 0, kTimeout);
    for (const Answer& a : m.take_answers()) RC_ASSERT(verdicts.emplace(a.to.who.rank, a.status.code()).second);
  }
  RC_ASSERT(verdicts.size() == static_cast<std::size_t>(workers));
  for (auto [w, code] : verdicts) RC_ASSERT(code == (agree ? Code::ok : Code::invalid));
}

/// A rendezvous whose members say what they say.
class RendezvousTest : public ::testing::Test {
 protected:
  void start(int workers) {
    Membership::Options o;
    o.workers = workers;
    o.host = {Role::worker, 0};
    rendezvous.emplace(o, now);
    for (int w = 0; w < workers; ++w) rendezvous->connected(static_cast<std::uint64_t>(w), {Role::worker, w});
  }
  ControlMessage join(int worker, int workers) {
    Member member;
    member.rank = worker;
    member.incarnation = Incarnation(1);
    ControlMessage m = make_join(member, workers);
    m.request = 1;
    return m;
  }
  /// What the rendezvous says to whom then.
  std::map<int, std::vector<ControlMessage>> say(int worker, const ControlMessage& m) {
    rendezvous->received(static_cast<std::uint64_t>(worker), m, now);
    return advance();
  }
  std::map<int, std::vector<ControlMessage>> advance(Duration time = 0) {
    now += time;
    rendezvous->advance(now);
    std::map<int, std::vector<ControlMessage>> out;
    for (auto& [id, m] : rendezvous->take_outgoing()) out[static_cast<int>(id)].push_back(std::move(m));
    return out;
  }
  void join_all(int workers) {
    start(workers);
    for (int w = 0; w < workers; ++w) say(w, join(w, workers));
  }
  ControlMessage message(ControlKind kind, std::string value = {}) {
    ControlMessage m;
    m.kind = kind;
    m.request = 7;
    m.value = std::move(value);
    m.timeout_ms = 10'000;
    return m;
  }
  Time now = 1000 * kSecond;
  std::optional<Rendezvous> rendezvous;
};

TEST_F(RendezvousTest, RefusesAnotherNumberOfWorkersAtOnce) {
  start(2);
  say(0, join(0, 2));
  auto said = say(1, join(1, 3));
  const std::string why =
      "worker 1: counts 3 workers in the job, worker 0 counts 2: every process needs the same number of workers "
      "(WORLD_SIZE)";
  ASSERT_FALSE(said[1].empty());
  EXPECT_EQ(status_of(said[1][0]).code(), Code::invalid);
  EXPECT_EQ(said[1][0].value, why);
  ASSERT_FALSE(said[0].empty()) << "the others would wait in vain";
  EXPECT_EQ(decode_loss(said[0][0].value)->message(), why);
  EXPECT_EQ(decode_loss(said[0][0].value)->exit_code, 2);
}

TEST_F(RendezvousTest, OneThatComesTooManyDoesNotEndAJobThatHasAssembled) {
  join_all(2);
  rendezvous->connected(2, {Role::worker, 2});
  auto said = say(2, join(2, 3));
  EXPECT_NE(said[2].at(0).value.find("counts 3 workers"), std::string::npos);
  EXPECT_FALSE(rendezvous->membership().loss().has_value());
}

TEST_F(RendezvousTest, RefusesAnotherVersionAtOnce) {
  start(2);
  ControlMessage other = join(1, 2);
  other.key = "0.0.9";
  auto said = say(1, other);
  EXPECT_EQ(said[1].at(0).value, "worker 1: has version 0.0.9 of Cohaul, worker 0 has " +
                                     std::string(library_version()) + ": every process needs the same one");
  EXPECT_FALSE(library_version().empty());
}

TEST_F(RendezvousTest, TellsTheOthersWhoWaitsAndWhoHasLeft) {
  join_all(3);
  EXPECT_TRUE(say(1, message(ControlKind::meet, encode_meeting(meeting("close()", 9)))).empty());
  EXPECT_EQ(rendezvous->next_time(), now + Meetings::kTellAfter);
  auto said = advance(Meetings::kTellAfter);
  EXPECT_FALSE(said.contains(1));
  for (int w : {0, 2}) {
    ASSERT_EQ(said[w].size(), 1u);
    EXPECT_EQ(said[w][0].kind, ControlKind::waits);
    EXPECT_EQ(decode_absence(said[w][0].value)->worker, 1);
    EXPECT_EQ(decode_absence(said[w][0].value)->meeting.progress, 9);
  }
  said = say(2, message(ControlKind::leave));
  EXPECT_EQ(said[0].at(0).kind, ControlKind::left);
  EXPECT_EQ(*decode_ranks(said[0].at(0).value), std::vector{2});
  EXPECT_EQ(said[2].at(0).kind, ControlKind::reply);
  ASSERT_EQ(said[1].size(), 2u);  // that it left, and that the meeting cannot be
  EXPECT_EQ(status_of(said[1][1]).code(), Code::invalid);
  EXPECT_FALSE(say(1, message(ControlKind::leave)).contains(0)) << "not so soon after the first";
  EXPECT_EQ(rendezvous->next_time(), now + Rendezvous::kTellLeftEvery);
  EXPECT_EQ(*decode_ranks(advance(Rendezvous::kTellLeftEvery)[0].at(0).value), std::vector{1});
  EXPECT_EQ(say(0, message(ControlKind::leave)).size(), 1u) << "nobody is left to be told";
}

TEST_F(RendezvousTest, ManyGoodbyesAreToldOfTogether) {
  join_all(5);
  EXPECT_EQ(*decode_ranks(say(3, message(ControlKind::leave))[0].at(0).value), std::vector{3});
  say(4, message(ControlKind::leave));
  now += Rendezvous::kTellLeftEvery / 2;
  say(1, message(ControlKind::leave));
  auto said = advance(Rendezvous::kTellLeftEvery / 2);
  EXPECT_EQ(said.size(), 2u);
  for (int w : {0, 2}) {
    ASSERT_EQ(said[w].size(), 1u);
    EXPECT_EQ(*decode_ranks(said[w][0].value), (std::vector{4, 1}));
  }
}

TEST_F(RendezvousTest, WorkerZeroHearsOfAllTheOthersOfTheirHost) {
  start(4);
  std::map<int, std::vector<ControlMessage>> said;
  for (int w = 0; w < 4; ++w) {
    Member member;
    member.rank = w;
    member.host_id = w < 2 ? "here" : "there";
    ControlMessage m = make_join(member, 4);
    m.request = 1;
    said = say(w, m);
  }
  std::map<int, std::vector<int>> heard;
  for (int w = 0; w < 4; ++w) {
    const auto welcome = decode_welcome(said[w].at(0).value);
    for (const Member& m : welcome->members) heard[w].push_back(m.rank);
    EXPECT_EQ(welcome->hosts, (std::vector<int>{0, 0, 2, 2}));
  }
  EXPECT_EQ(heard, (std::map<int, std::vector<int>>{{0, {0, 1, 2, 3}}, {1, {0, 1}}, {2, {2, 3}}, {3, {2, 3}}}));
}

TEST_F(RendezvousTest, WhoComesAgainFromElsewhereDisturbsNobody) {
  start(3);
  rendezvous->connected(7, {Role::worker, 1});
  Member member;
  member.rank = 1;
  for (int connection : {1, 7}) {
    member.host_id = connection == 1 ? "here" : "there";
    ControlMessage m = make_join(member, 3);
    m.request = 1;
    say(connection, m);
  }
  say(0, join(0, 3));
  auto said = say(2, join(2, 3));
  for (int connection : {0, 1, 2, 7}) EXPECT_EQ(said[connection].size(), 1u) << connection;
}

TEST_F(RendezvousTest, RefusesABrokenMeeting) {
  join_all(2);
  EXPECT_EQ(status_of(say(1, message(ControlKind::meet, "broken"))[1].at(0)).code(), Code::corrupt);
}

TEST(StoreTest, GathersWhenAllValuesAreThere) {
  Store store(3);
  store.set(ticket(1), "address/1", "b");
  (void)store.take_answers();
  store.gather(ticket(2), "address/", 3, false, 0, kTimeout);
  store.gather(ticket(0), "address/", 2, false, 0, 2 * kTimeout);
  store.gather(ticket(1), "address/", 0, false, 0, kTimeout);
  auto answers = store.take_answers();
  ASSERT_EQ(answers.size(), 1u) << "of none, at once";
  EXPECT_EQ(*decode_values(answers[0].value), std::vector<std::string>());
  EXPECT_EQ(store.next_deadline(), kTimeout);
  store.set(ticket(0), "address/0", "a");
  answers = store.take_answers();
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(answers[1].to.who.rank, 0);
  EXPECT_EQ(*decode_values(answers[1].value), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(store.next_deadline(), kTimeout);
  store.set(ticket(2), "address/2", "");
  EXPECT_EQ(*decode_values(store.take_answers().at(1).value), (std::vector<std::string>{"a", "b", ""}));
  EXPECT_EQ(store.next_deadline(), kForever);
  store.gather(ticket(0), "address/", 5, false, 0, kTimeout);
  store.expire(kTimeout);
  EXPECT_EQ(store.take_answers().at(0).status.message(), "nobody has set 'address/3' within 2.0 s");
}

TEST(StoreTest, NobodyGathersFromWhoHasLeft) {
  Store store(3);
  store.set(ticket(0), "address/0", "a");
  store.leave({Role::worker, 0});
  store.gather(ticket(2), "address/", 2, true, 0, kTimeout);
  EXPECT_EQ(store.take_answers().size(), 1u) << "what it has set is there";
  store.leave({Role::worker, 1});
  EXPECT_EQ(store.take_answers().at(0).status.message(), "worker 1 has left the job");
  store.gather(ticket(2), "address/", 2, true, 0, kTimeout);
  EXPECT_EQ(store.take_answers().at(0).status.message(), "worker 1 has left the job");
  const std::string big(kValueBytesMax / 2, 'x');
  for (int i : {0, 1}) store.set(ticket(0), "big/" + std::to_string(i), big);
  store.gather(ticket(2), "big/", 2, false, 0, kTimeout);
  EXPECT_EQ(store.take_answers().at(2).status.message(), "the store's values 'big/…' are over 1 MB");
  EXPECT_EQ(store.next_deadline(), kForever);
}

TEST(StoreTest, NobodyWaitsForWhoHasLeft) {
  Store store(2);
  const Ticket zero = ticket(0);
  store.get(zero, "address/1", 0, kTimeout, MemberKey{Role::worker, 1});
  store.get(zero, "anyone's", 0, kTimeout);
  store.barrier(zero, "of all", 2, 0, kTimeout);
  store.barrier(zero, "of more", 3, 0, kTimeout);
  store.leave({Role::worker, 1});
  auto answers = store.take_answers();
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(answers[0].status.message(), "worker 1 has left the job");
  EXPECT_EQ(answers[1].status.message(), "barrier 'of all': worker 1 has left the job");
  store.get(zero, "address/2", 0, kTimeout, MemberKey{Role::worker, 1});
  store.barrier(zero, "next", 2, 0, kTimeout);
  answers = store.take_answers();
  ASSERT_EQ(answers.size(), 2u);
  for (const Answer& a : answers) EXPECT_EQ(a.status.code(), Code::invalid);
}

TEST(ControlTest, RefusesBrokenMeetings) {
  std::string good = encode_meeting(meeting("close()", 9, "a=1\n", 3));
  auto decoded = decode_meeting(good);
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(decoded->group, "trainer 0");
  EXPECT_EQ(decoded->number, 3);
  EXPECT_EQ(decoded->purpose, "close()");
  EXPECT_EQ(decoded->progress, 9);
  EXPECT_EQ(decoded->facts, "a=1\n");
  std::string absence = encode_absence({1, meeting("close()")});
  EXPECT_EQ(decode_absence(absence)->worker, 1);
  for (std::size_t n = 0; n < good.size(); ++n) EXPECT_FALSE(decode_meeting(good.substr(0, n)).ok());
  for (std::size_t n = 0; n < absence.size(); ++n) EXPECT_FALSE(decode_absence(absence.substr(0, n)).ok());
  EXPECT_FALSE(decode_meeting(good + "x").ok());
  EXPECT_FALSE(decode_absence(encode_absence({-1, meeting("close()")})).ok());
  EXPECT_FALSE(decode_meeting(encode_meeting(meeting("close()", -1))).ok());
  EXPECT_FALSE(decode_meeting(encode_meeting(meeting(std::string(kKeyBytesMax + 1, 'x')))).ok());
  EXPECT_EQ(check(meeting("fit()", 0, std::string(kValueBytesMax, 'x'))).code(), Code::invalid);
}

}  // namespace
}  // namespace cohaul::job
