// What `--hosts` says, and what the launcher and agents say to each other.

#include <gtest/gtest.h>
#include <unistd.h>

#include "cohaul/base/temporary_folder.h"
#include "cohaul/job/hosts/agent_messages.h"
#include "cohaul/job/hosts/home.h"
#include "cohaul/job/hosts/host_list.h"
#include "cohaul/job/hosts/tail.h"

#include <fstream>
#include <sstream>

namespace cohaul::job {
namespace {

using transport::Role;

std::string shown(std::string_view text, std::optional<int> workers = std::nullopt) {
  const auto hosts = parse_hosts(text, workers);
  if (!hosts.ok()) return std::string(hosts.status().message());
  std::string out;
  for (const HostSlots& h : *hosts) out += (out.empty() ? "" : " ") + h.name + "=" + std::to_string(h.workers);
  return out;
}

TEST(HostList, HasNumbersOfWorkersOrSharesThem) {
  EXPECT_EQ(shown("node1:2,node2:3"), "node1=2 node2=3");
  EXPECT_EQ(shown("node1,node2"), "node1=1 node2=1");
  EXPECT_EQ(shown("node1,node2", 5), "node1=3 node2=2");
  EXPECT_EQ(shown("node1:4,node2", 5), "node1=4 node2=1");
  EXPECT_EQ(shown("me@node1:2"), "me@node1=2");
  EXPECT_EQ(shown("[fe80::1]:2,::1"), "fe80::1=2 ::1=1");
  EXPECT_EQ(shown("node1:2,node2:2", 4), "node1=2 node2=2");
}

TEST(HostList, RefusesWhatIsNone) {
  EXPECT_NE(shown("").find("there is no host"), std::string::npos);
  EXPECT_NE(shown("a:0").find("'a:0': after ':' comes a number of workers"), std::string::npos);
  EXPECT_NE(shown("a:x").find("comes a number"), std::string::npos);
  EXPECT_NE(shown(":2").find("names no host"), std::string::npos);
  EXPECT_NE(shown("-oProxyCommand=x").find("names no host"), std::string::npos);  // an option of ssh's
  EXPECT_NE(shown("a,b,a").find("'a' is there twice"), std::string::npos);
  EXPECT_NE(shown("a:2,b:2", 3).find("have 4 workers, and the job has 3"), std::string::npos);
  EXPECT_NE(shown("a,b,c", 2).find("and the job has 2"), std::string::npos);
}

TEST(HostList, DealsWorkersHostByHostAndServersOverAll) {
  const auto dealt = deal_members(*parse_hosts("a:2,b:1", std::nullopt), 3);
  EXPECT_EQ(dealt[0],
            (std::vector<MemberKey>{{Role::server, 0}, {Role::server, 2}, {Role::worker, 0}, {Role::worker, 1}}));
  EXPECT_EQ(dealt[1], (std::vector<MemberKey>{{Role::server, 1}, {Role::worker, 2}}));
}

TEST(AgentMessages, APlanGoesThroughBytes) {
  CrewPlan plan{.members = {{Role::server, 1}, {Role::worker, 0}}, .workers = 2, .servers = 3};
  for (int i = 0; i < 12; ++i) plan.worker_command.push_back("word " + std::to_string(i));
  plan.server_command = {"s"};
  plan.environment = {{"B", "1=2"}, {"A", ""}};
  plan.texts = {{"job", std::string("a\0b", 3)}};
  plan.outputs = {"record"};
  plan.address = "eth0";
  plan.port = 5;
  plan.ports = {6, 7};
  plan.token = UINT64_MAX - 1;
  plan.peer_timeout_s = 2.5;
  plan.join_timeout_s = 7;
  plan.must_join = false;
  plan.pin = true;
  plan.threads = 3;
  plan.certificates[{Role::worker, 0}] = {.chain = "c", .key = "k", .authority = "a", .job = "j", .expires = false};
  plan.shown_logs[{Role::worker, 0}] = "/here";
  const auto back = plan_of(*decode_agent_message(encode(message_of(plan))));
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(back->members, plan.members);
  EXPECT_EQ(back->worker_command, plan.worker_command);
  EXPECT_EQ(back->environment, plan.environment);
  EXPECT_EQ(back->texts, plan.texts);
  EXPECT_EQ(back->token, plan.token);
  EXPECT_EQ(back->peer_timeout_s, plan.peer_timeout_s);
  EXPECT_TRUE(back->pin);
  EXPECT_EQ(back->threads, 3);
  EXPECT_EQ(back->certificates.at({Role::worker, 0}).key, "k");
  EXPECT_FALSE(back->certificates.at({Role::worker, 0}).expires);
  EXPECT_EQ(back->shown_logs, plan.shown_logs);
  EXPECT_EQ(encode(message_of(*back)), encode(message_of(plan)));
}

TEST(AgentMessages, EventsGoThroughBytes) {
  const std::vector<CrewEvent> events{
      {.kind = CrewEvent::Kind::exited, .who = {Role::server, 3}, .exit = {true, 9}},
      {.kind = CrewEvent::Kind::decided,
       .decision = {.kind = Decision::Kind::lost, .loss = {.who = {Role::worker, 1}, .how = "gone", .exit_code = 3}}},
      {.kind = CrewEvent::Kind::decided,
       .decision = {.kind = Decision::Kind::finished, .committed = true, .stopped = "143 stopped"}},
      {.kind = CrewEvent::Kind::asked, .signal = 15, .taken = true}};
  for (const CrewEvent& event : events) {
    const auto back = event_of(*decode_agent_message(encode(message_of(event))));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(encode(message_of(*back)), encode(message_of(event)));
  }
  EXPECT_EQ(status_of(message_of(invalid("why"))).code(), Code::invalid);
  EXPECT_EQ(status_of(message_of(invalid("why"))).message(), "why");
}

TEST(AgentMessages, BrokenOnesAreCorrupt) {
  const std::string good = encode(message_of(CrewPlan{.members = {{Role::worker, 0}}}));
  for (std::size_t n = 0; n < good.size(); ++n) {
    const auto cut = decode_agent_message(std::string_view(good).substr(0, n));
    const bool is_plan = cut.ok() && plan_of(*cut).ok();  // a whole field may be missing
    EXPECT_FALSE(is_plan) << n;
  }
  EXPECT_FALSE(event_of({"nonsense"}).ok());
  EXPECT_FALSE(event_of({kExited, {{"who", "worker x"}}}).ok());
  EXPECT_FALSE(event_of({kDecided, {{"decision", "7"}}}).ok());
  EXPECT_FALSE(event_of({kDecided, {{"decision", "1"}, {"loss", "x"}}}).ok());
  EXPECT_FALSE(plan_of({kPrepare, {{"member.0", "worker -1"}}}).ok());
}

std::string text_in(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

class HomeFiles : public testing::Test {
 protected:
  TemporaryFolder folder_ = TemporaryFolder::make("cohaul-test").value();
};

TEST_F(HomeFiles, GoWhereTheyBelong) {
  using How = HomeFile::How;
  const std::string record = folder_.file("record"), table = folder_.file("table"), board = folder_.file("board"),
                    whole = folder_.file("whole");
  std::ofstream(record) << "first\n";
  std::ofstream(table) << "old\n";
  {
    Home home({{"record", record, How::append},
               {"csv", table, How::anew},
               {"board", board, How::folder},
               {"save", whole, How::whole}},
              1, 2);
    ASSERT_TRUE(home.open("", {{Role::worker, 0}}).ok());
    for (const char* part : {"a", "b"})
      for (const char* name : {"record", "csv", "board/x", "save"}) EXPECT_TRUE(home.add_to_file(name, part).ok());
    EXPECT_EQ(text_in(record), "first\nab");
    EXPECT_EQ(text_in(table), "ab");
    EXPECT_EQ(text_in(board + "/x"), "ab");
    EXPECT_EQ(::access(whole.c_str(), F_OK), -1);  // not whole yet
    EXPECT_TRUE(home.finish().ok());
    EXPECT_EQ(text_in(whole), "ab");
    for (const char* bad : {"other", "board/../x", "../record", "savex", "record/x"})
      EXPECT_EQ(home.add_to_file(bad, "x").code(), Code::corrupt) << bad;
    EXPECT_TRUE(home.add_to_log({Role::worker, 0}, "line\n").ok());
    EXPECT_EQ(text_in(home.log_of({Role::worker, 0})), "line\n");
    EXPECT_EQ(home.add_to_log({Role::worker, 1}, "x").code(), Code::corrupt);
    home.remove_temporary();
  }
  Home never_whole({{"save", whole, How::whole}}, 1, 2);
  EXPECT_TRUE(never_whole.add_to_file("save", "half").ok());
  EXPECT_EQ(text_in(whole), "ab");
}

TEST_F(HomeFiles, TailsGiveWhatIsAppended) {
  const std::string path = folder_.file("x");
  Tail tail(path);
  EXPECT_EQ(tail.read(10), "");
  std::ofstream out(path, std::ios::app);
  out << "abcdef" << std::flush;
  EXPECT_EQ(tail.read(4), "abcd");
  EXPECT_EQ(tail.read(4), "ef");
  EXPECT_EQ(tail.read(4), "");
  out << "g" << std::flush;
  EXPECT_EQ(tail.read(4), "g");
}

}  // namespace
}  // namespace cohaul::job
