#include "cohaul/collective/links.h"

#include <cstdio>

namespace cohaul::collective {

using transport::Frame;
using transport::Message;

/// Frames of one peer in order of arrival; keeps its memory.
struct Links::Inbox {
  std::vector<Frame> frames;
  std::size_t first = 0;
  Status lost;  // why nothing more will come

  void push(Frame frame) {
    if (empty()) frames.clear(), first = 0;
    frames.push_back(std::move(frame));
  }
  bool empty() const { return first == frames.size(); }
  bool pop(Frame& out) {
    if (empty()) return false;
    out = std::move(frames[first++]);
    return true;
  }
};

Links::Links(int rank, std::vector<std::unique_ptr<transport::Channel>> channels, transport::Poller& poller,
             Watch& watch, Duration timeout)
    : rank_(rank),
      channels_(std::move(channels)),
      poller_(poller),
      watch_(watch),
      timeout_(timeout),
      inboxes_(channels_.size()) {
  for (Inbox& inbox : inboxes_) inbox.frames.reserve(64);
}

Links::~Links() {
  for (Inbox& inbox : inboxes_) inbox.frames.clear();
  for (auto& c : channels_)
    if (c && inboxes_[&c - channels_.data()].lost.ok()) poller_.remove(*c);
}

Status Links::fail(Status why) {
  if (failure_.ok()) failure_ = why;
  return failure_;
}

Status Links::send(int to, const Message& message, const char* operation) {
  if (!failure_.ok()) return failure_;
  Time deadline = 0;
  for (;;) {
    Status sent = channels_[to]->send(message);
    if (sent.ok()) return sent;
    if (sent.code() != Code::unavailable) return fail(sent.context(operation));
    Waiting waiting(watch_);
    if (deadline == 0) deadline = poller_.clock().now() + timeout_;
    COHAUL_TRY(drain());
    COHAUL_TRY(wait(deadline, operation, [to](int r) { return r == to; }));
  }
}

Status Links::drain() {
  if (!failure_.ok()) return failure_;
  for (int r = 0; r < size(); ++r) {
    if (!channels_[r] || !inboxes_[r].lost.ok()) continue;
    for (;;) {
      auto frame = channels_[r]->receive();
      if (!frame.ok()) {
        // A rank that is done may close before others are; only who needs more from it fails.
        inboxes_[r].lost = frame.status();
        poller_.remove(*channels_[r]);
        break;
      }
      if (!frame->has_value()) break;
      inboxes_[r].push(std::move(**frame));
    }
  }
  return {};
}

bool Links::take(int from, Frame& frame) { return inboxes_[from].pop(frame); }

Status Links::wait(Time deadline, const char* operation, const std::function<bool(int)>& missing) {
  for (int r = 0; r < size(); ++r)
    if (!inboxes_[r].lost.ok() && missing(r)) return fail(inboxes_[r].lost.context(operation));
  Status waited = poller_.wait(deadline);
  if (!waited.ok()) return fail(waited.context(operation));
  if (Status lost = watch_.health(); !lost.ok()) return fail(lost.context(operation));
  if (poller_.clock().now() < deadline) return {};
  if (Status lost = watch_.overdue(timeout_); !lost.ok()) return fail(lost.context(operation));
  std::string who;
  for (int r = 0; r < size(); ++r)
    if (channels_[r] && missing(r)) who += (who.empty() ? "" : ", ") + transport::describe(channels_[r]->peer());
  char limit[32];
  std::snprintf(limit, sizeof limit, "%g", static_cast<double>(timeout_) / kSecond);
  return fail(peer_lost("no answer from " + who + " within " + limit + " s").context(operation));
}

Result<Frame> Links::receive(int from, const char* operation, bool higher_too) {
  if (!failure_.ok()) return failure_;
  Waiting waiting(watch_);
  Frame frame;
  Time deadline = 0;
  const int end = higher_too ? size() : from + 1;
  for (;;) {
    if (take(from, frame)) return frame;
    COHAUL_TRY(drain());
    if (take(from, frame)) return frame;
    if (deadline == 0) deadline = poller_.clock().now() + timeout_;
    // So few captures fit into a function without an allocation.
    COHAUL_TRY(
        wait(deadline, operation, [this, from, end](int r) { return r >= from && r < end && inboxes_[r].empty(); }));
  }
}

Status Links::flush(const char* operation) {
  if (!failure_.ok()) return failure_;
  Waiting waiting(watch_);
  Time deadline = poller_.clock().now() + timeout_;
  for (int r = 0; r < size(); ++r) {
    if (!channels_[r]) continue;
    for (;;) {
      auto done = channels_[r]->flush();
      if (!done.ok()) return fail(done.status().context(operation));
      if (*done) break;
      COHAUL_TRY(drain());
      COHAUL_TRY(wait(deadline, operation, [r](int other) { return other == r; }));
    }
  }
  return {};
}

}  // namespace cohaul::collective
