#include "cohaul/collective/links.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "cohaul/base/digits.h"
#include "cohaul/transport/fifo.h"

namespace cohaul::collective {

using transport::Frame;
using transport::Message;

/// How soon a paused channel that could not write all is tried again.
constexpr Duration kPausedLook = kMillisecond;
/// How often a wait asks whether a process is lost or will not come.
constexpr Duration kLookAround = 250 * kMillisecond;

/// Frames of one peer in order of arrival; keeps its memory.
struct Links::Inbox {
  transport::Fifo<Frame> frames;
  bool paused = false;
  Status lost;  // why nothing more will come
};

/// The messages that the channel to one peer had no room for.
struct Links::Outbox {
  struct Waiting {
    Message message;
    std::vector<std::byte> body;
  };
  std::deque<Waiting> waiting;
};

Links::Links(int rank, std::vector<std::unique_ptr<transport::Channel>> channels, transport::Poller& poller,
             Watch& watch, Duration timeout)
    : rank_(rank),
      channels_(std::move(channels)),
      poller_(poller),
      watch_(watch),
      timeout_(timeout),
      inboxes_(channels_.size()),
      outboxes_(channels_.size()) {}

Links::~Links() {
  for (int r = 0; r < size(); ++r) {
    Inbox& inbox = inboxes_[r];
    inbox.frames = {};
    if (channels_[r] && inbox.lost.ok() && !inbox.paused) poller_.remove(*channels_[r]);
  }
}

Status Links::fail(Status why) {
  if (failure_.ok()) failure_ = std::move(why);
  return failure_;
}

Status Links::send(int to, const Message& message, const char* operation) {
  if (!failure_.ok()) return failure_;
  Time deadline = 0;
  for (;;) {
    auto before = outboxes_[to].waiting.empty() ? Result<bool>(true) : flush_one(to);
    Status sent = before.ok() && outboxes_[to].waiting.empty() ? channels_[to]->send(message) : before.status();
    if (before.ok() && !outboxes_[to].waiting.empty()) sent = unavailable("frames wait before it");
    if (sent.ok()) return sent;
    if (sent.code() != Code::unavailable) return fail(sent.context(operation));
    Waiting waiting(watch_);
    if (deadline == 0) deadline = poller_.clock().now() + timeout_;
    COHAUL_TRY(drain(to));
    COHAUL_TRY(wait(deadline, operation, [to](int r) { return r == to; }));
  }
}

Status Links::post(int to, const Message& message) {
  if (outboxes_[to].waiting.empty()) {
    Status sent = channels_[to]->send(message);
    if (sent.code() != Code::unavailable) return sent;
  }
  auto& waiting = outboxes_[to].waiting.emplace_back(message, std::vector(message.body.begin(), message.body.end()));
  waiting.message.body = waiting.body;
  ++posted_;
  return {};
}

Result<bool> Links::flush_one(int to) {
  auto& waiting = outboxes_[to].waiting;
  while (!waiting.empty()) {
    Status sent = channels_[to]->send(waiting.front().message);
    if (sent.code() == Code::unavailable) return false;
    if (!sent.ok()) return sent;
    waiting.pop_front();
    --posted_;
  }
  return channels_[to]->flush();
}

bool Links::writes_all(int to) {
  auto flushed = flush_one(to);
  return !flushed.ok() || *flushed;
}

bool Links::try_flush() {
  bool all = true;
  for (int r = 0; r < size(); ++r)
    if (channels_[r]) all &= writes_all(r);
  return all;
}

void Links::pause(int rank) {
  if (std::exchange(inboxes_[rank].paused, true)) return;
  poller_.remove(*channels_[rank]);
  ++paused_;
}

void Links::resume(int rank) {
  if (!std::exchange(inboxes_[rank].paused, false)) return;
  --paused_;
  if (Status added = poller_.add(*channels_[rank]); !added.ok()) (void)fail(added);
}

/// Keeps one more frame. Returns false where none has come.
bool Links::keep_one(int from) {
  Inbox& inbox = inboxes_[from];
  if (!channels_[from] || !inbox.lost.ok()) return false;
  auto frame = channels_[from]->receive();
  if (!frame.ok()) {
    // A rank that is done may close before others are. Only a call that needs more from it fails.
    resume(from);
    inbox.lost = frame.status();
    poller_.remove(*channels_[from]);
    return false;
  }
  if (!frame->has_value()) return false;
  inbox.frames.push() = std::move(**frame);
  return true;
}

Status Links::drain(int waited) {
  if (!failure_.ok()) return failure_;
  if (waited >= 0) resume(waited);
  for (int r = 0; r < size(); ++r) {
    if (inboxes_[r].paused) continue;
    while (r == waited || inboxes_[r].frames.size() < kKeptFramesMax)
      if (!keep_one(r)) break;
    if (r != waited && inboxes_[r].frames.size() >= kKeptFramesMax && inboxes_[r].lost.ok()) pause(r);
  }
  return failure_;
}

const Frame* Links::next(int from) {
  if (inboxes_[from].frames.empty() && !keep_one(from)) return nullptr;
  return &inboxes_[from].frames.front();
}

bool Links::take(int from, Frame& frame) {
  Inbox& inbox = inboxes_[from];
  if (inbox.frames.empty()) return false;
  frame = std::move(inbox.frames.front());
  inbox.frames.pop();
  if (inbox.paused && inbox.frames.size() < kKeptFramesMax / 2) resume(from);
  return true;
}

Status Links::wait(Time deadline, const char* operation, const std::function<bool(int)>& missing, Duration limit) {
  if (!failure_.ok()) return failure_;
  for (int r = 0; r < size(); ++r)
    if (!inboxes_[r].lost.ok() && missing(r)) return fail(inboxes_[r].lost.context(operation));
  Time until = std::min(deadline, poller_.clock().now() + kLookAround);
  for (int r = 0; r < size() && paused_ + posted_ > 0; ++r) {
    const bool here = inboxes_[r].paused || !outboxes_[r].waiting.empty();
    if (here && !writes_all(r) && inboxes_[r].paused) until = std::min(until, poller_.clock().now() + kPausedLook);
  }
  Status waited = poller_.wait(until);
  if (!waited.ok()) return fail(waited.context(operation));
  if (Status lost = watch_.health(); !lost.ok()) return fail(lost.context(operation));
  if (poller_.clock().now() < deadline) return {};
  if (limit == 0) limit = timeout_;
  if (Status lost = watch_.overdue(limit); !lost.ok()) return fail(lost.context(operation));
  std::string who;
  for (int r = 0; r < size(); ++r)
    if (channels_[r] && missing(r)) who += (who.empty() ? "" : ", ") + transport::describe(channels_[r]->peer());
  const std::string limit_s = digits_of(static_cast<double>(limit) / kSecond);
  return fail(peer_lost("no answer from " + who + " within " + limit_s + " s").context(operation));
}

Result<Frame> Links::receive(int from, const char* operation, bool higher_too) {
  if (!failure_.ok()) return failure_;
  Waiting waiting(watch_);
  Frame frame;
  Time deadline = 0;
  const int end = higher_too ? size() : from + 1;
  for (;;) {
    if (take(from, frame)) return frame;
    COHAUL_TRY(drain(from));
    if (take(from, frame)) return frame;
    if (deadline == 0) deadline = poller_.clock().now() + timeout_;
    // The captures are few, so that they fit into a function without an allocation.
    COHAUL_TRY(wait(deadline, operation,
                    [this, from, end](int r) { return r >= from && r < end && inboxes_[r].frames.empty(); }));
  }
}

Status Links::flush(const char* operation, Time deadline) {
  if (!failure_.ok()) return failure_;
  Waiting waiting(watch_);
  const Time now = poller_.clock().now();
  const Duration limit = deadline == 0 ? timeout_ : deadline - now;
  if (deadline == 0) deadline = now + timeout_;
  for (int r = 0; r < size(); ++r) {
    if (!channels_[r]) continue;
    for (;;) {
      auto done = flush_one(r);
      if (!done.ok()) return fail(done.status().context(operation));
      if (*done) break;
      COHAUL_TRY(drain(r));
      COHAUL_TRY(wait(
          deadline, operation, [r](int other) { return other == r; }, limit));
    }
  }
  return {};
}

}  // namespace cohaul::collective
