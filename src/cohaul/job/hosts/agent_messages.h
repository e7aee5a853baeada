#pragma once
// What the launcher and the agents say to each other, as messages of agent_link.h. A field of a list or map is "name.KEY".

#include "cohaul/base/exit_code.h"
#include "cohaul/job/crew.h"
#include "cohaul/job/crew_plan.h"
#include "cohaul/job/hosts/agent_link.h"

namespace cohaul::job {

// Messages to an agent, in this order; each is answered before the next is sent:
inline constexpr const char* kGreet = "greet";      // version, folder, quiet_ms       → ready: host, or failed
inline constexpr const char* kPrepare = "prepare";  // a plan                           → prepared, or failed
inline constexpr const char* kCheck = "check";      // command.0 …                      → checked: exit, said
inline constexpr const char* kListen = "listen";  // of the one with the rendezvous   → listening: address, or failed
inline constexpr const char* kStart =
    "start";  // address                          → started for each, then running, or failed
// Then, at any time (`who` is a member):
inline constexpr const char* kTerminate = "terminate";
inline constexpr const char* kKill = "kill";
inline constexpr const char* kKillIfStopped = "kill if stopped";
inline constexpr const char* kAsk = "ask";        // signal
inline constexpr const char* kExited = "exited";  // who, by_signal, code: also from an agent
inline constexpr const char* kAlive = "alive";    // both ways: silence for long means that the other end is lost
// Messages from an agent:
inline constexpr const char* kReady = "ready";
inline constexpr const char* kPrepared = "prepared";
inline constexpr const char* kChecked = "checked";
inline constexpr const char* kListening = "listening";
inline constexpr const char* kStarted = "started";  // who, pid
inline constexpr const char* kRunning = "running";
inline constexpr const char* kFailed = "failed";    // code, message
inline constexpr const char* kOutput = "output";    // stream (1, 2), bytes: of the first worker
inline constexpr const char* kLog = "log";          // who, bytes
inline constexpr const char* kFile = "file";        // name, bytes: of a plan's output
inline constexpr const char* kDecided = "decided";  // kind, loss, committed, stopped
inline constexpr const char* kAsked = "asked";      // signal, taken

AgentMessage message_of(const CrewPlan& plan);
/// corrupt: a number that is none, or a broken list.
Result<CrewPlan> plan_of(const AgentMessage& message);

AgentMessage message_of(const CrewEvent& event);
/// Reads kExited, kDecided, kAsked. corrupt: no such event.
Result<CrewEvent> event_of(const AgentMessage& message);

AgentMessage message_of(const Status& failed);
Status status_of(const AgentMessage& message);

/// Turns a member into "worker 3", and back. Errors: corrupt (no member).
std::string text_of(MemberKey who);
Result<MemberKey> member_of_text(const std::string& text);

}  // namespace cohaul::job
