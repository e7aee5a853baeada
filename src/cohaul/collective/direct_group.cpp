#include "cohaul/collective/direct_group.h"

#include <cstring>
#include <string>
#include <string_view>

#include "cohaul/base/last_operations.h"
#include "cohaul/collective/rank_messages.h"
#include "cohaul/update/sum.h"

namespace cohaul::collective {
namespace {

using transport::Frame;

enum Kind : std::uint16_t { kAllReduce = 1, kReduceScatter, kAllGather, kBroadcast, kSend, kBarrier };

std::string_view name(std::uint16_t kind) {
  switch (kind) {
    case kAllReduce: return "all_reduce";
    case kReduceScatter: return "reduce_scatter";
    case kAllGather: return "all_gather";
    case kBroadcast: return "broadcast";
    case kSend: return "send";
    case kBarrier: return "barrier";
    default: return "an unknown operation";
  }
}

/// What a rank has called. Every frame carries it, so that ranks which call different things learn so from the first.
struct Call {
  const char* operation;
  Kind kind;
  Buffer whole;
  std::uint64_t key() const { return whole.elements << 1 | static_cast<std::uint64_t>(whole.dtype); }
};

std::string describe(std::string_view operation, std::uint64_t key) {
  return std::string(operation) + " of " + std::to_string(key >> 1) + " " +
         std::string(cohaul::name(static_cast<DType>(key & 1))) + " elements";
}

template <class T>
void sum_terms(const std::vector<const std::byte*>& terms, std::byte* out, std::size_t n,
               std::vector<const T*>& typed) {
  typed.clear();
  for (const std::byte* t : terms) typed.push_back(reinterpret_cast<const T*>(t));
  update::tree_sum(std::span<const T* const>(typed), reinterpret_cast<T*>(out), n);
}

class DirectGroup final : public Group {
 public:
  explicit DirectGroup(Links& links) : links_(links), frames_(links.size()) {
    terms_.reserve(links.size());
    float_terms_.reserve(links.size());
    double_terms_.reserve(links.size());
  }

  int rank() const override { return links_.rank(); }
  int size() const override { return links_.size(); }

  Status all_reduce(Buffer data) override {
    note_operation("all_reduce of elements", static_cast<std::int64_t>(data.elements));
    const Call call{"all_reduce", kAllReduce, data};
    COHAUL_TRY(check(call));
    Buffer mine = part(data, rank());
    COHAUL_TRY(send_parts(call));
    COHAUL_TRY(sum_parts(call, mine.data, mine));
    return spread(call, mine);
  }

  Status reduce_scatter(Buffer in, Buffer out) override {
    note_operation("reduce_scatter of elements", static_cast<std::int64_t>(in.elements));
    const Call call{"reduce_scatter", kReduceScatter, in};
    COHAUL_TRY(check(call));
    COHAUL_TRY(check_piece(call, "out", out));
    COHAUL_TRY(send_parts(call));
    COHAUL_TRY(sum_parts(call, part(in, rank()).data, out));
    return links_.flush(call.operation);
  }

  Status all_gather(Buffer in, Buffer out) override {
    note_operation("all_gather of elements", static_cast<std::int64_t>(out.elements));
    const Call call{"all_gather", kAllGather, out};
    COHAUL_TRY(check(call));
    COHAUL_TRY(check_piece(call, "in", in));
    Buffer mine = part(out, rank());
    if (in.data != mine.data && in.elements > 0) std::memmove(mine.data, in.data, in.bytes());
    return spread(call, mine);
  }

  Status broadcast(Buffer data, int root) override {
    note_operation("broadcast from rank", root);
    const Call call{"broadcast", kBroadcast, data};
    COHAUL_TRY(check(call));
    COHAUL_TRY(check_rank("broadcast from", root));
    if (rank() != root) return receive_into(call, root, data);
    COHAUL_TRY(send_to_all(call, data));
    return links_.flush(call.operation);
  }

  Status send(Buffer data, int to) override {
    note_operation("send to rank", to);
    const Call call{"send", kSend, data};
    COHAUL_TRY(check(call));
    COHAUL_TRY(check_rank("send to", to));
    if (to == rank()) return invalid("send: rank " + std::to_string(to) + " cannot send to itself");
    COHAUL_TRY(send_buffer(call, to, data));
    return links_.flush(call.operation);
  }

  Status receive(Buffer data, int from) override {
    note_operation("receive from rank", from);
    const Call call{"receive", kSend, data};
    COHAUL_TRY(check(call));
    COHAUL_TRY(check_rank("receive from", from));
    if (from == rank()) return invalid("receive: rank " + std::to_string(from) + " cannot receive from itself");
    return receive_into(call, from, data);
  }

  Status barrier() override {
    note_operation("barrier");
    const Call call{"barrier", kBarrier, {}};
    COHAUL_TRY(check(call));
    return spread(call, {});
  }

 private:
  Buffer part(const Buffer& whole, int rank) const {
    if (whole.elements == 0) return {nullptr, 0, whole.dtype};
    Piece p = piece_of(whole.elements, rank, size());
    return {whole.data + p.begin * size_of(whole.dtype), p.end - p.begin, whole.dtype};
  }

  /// Checks a call before anything is sent: an error here poisons nothing.
  Status check(const Call& call) const {
    if (!links_.failure().ok()) return links_.failure();
    if (call.whole.data == nullptr && call.whole.elements > 0)
      return invalid(describe(call.operation, call.key()) + " without a buffer");
    return {};
  }
  Status check_piece(const Call& call, const char* which, const Buffer& given) const {
    std::size_t elements = part(call.whole, rank()).elements;
    if (given.elements == elements && given.dtype == call.whole.dtype && (given.data != nullptr || elements == 0))
      return {};
    return invalid(describe(call.operation, call.key()) + ": '" + which + "' is " + std::to_string(given.elements) +
                   " " + std::string(cohaul::name(given.dtype)) + " elements; the piece of rank " +
                   std::to_string(rank()) + " has " + std::to_string(elements));
  }
  Status check_rank(const char* what, int rank) const {
    if (rank >= 0 && rank < size()) return {};
    return invalid(std::string(what) + " rank " + std::to_string(rank) + ": the ranks are 0 to " +
                   std::to_string(size() - 1));
  }

  Status send_buffer(const Call& call, int to, Buffer data) {
    transport::Message m;
    m.kind = call.kind;
    m.key = call.key();
    m.payload = {data.data, data.bytes()};
    return links_.send(to, m, call.operation);
  }
  Status send_to_all(const Call& call, Buffer data) {
    for (int r = 0; r < size(); ++r)
      if (r != rank()) COHAUL_TRY(send_buffer(call, r, data));
    return {};
  }

  /// Returns the next frame of `from`, which must be of the same call. higher_too: see Links.
  Result<Frame> receive_frame(const Call& call, int from, std::size_t bytes, bool higher_too) {
    COHAUL_ASSIGN(Frame f, links_.receive(from, call.operation, higher_too));
    if (f.kind == static_cast<std::uint16_t>(RankKind::left))
      return links_.fail(invalid(std::string(call.operation) + ": worker " + std::to_string(from) + " left after " +
                                 std::to_string(f.clock) + " steps (its loop, its trainer or its job ended)"));
    if (f.kind != call.kind || f.key != call.key())
      return links_.fail(invalid(describe(call.operation, call.key()) + " here meets " + describe(name(f.kind), f.key) +
                                 " of worker " + std::to_string(from) +
                                 ": all ranks must call the same operations, in the same order, with " +
                                 "the same sizes and types"));
    if (f.payload.size() != bytes)
      return links_.fail(corrupt(describe(call.operation, call.key()) + ": " + std::to_string(f.payload.size()) +
                                 " bytes of worker " + std::to_string(from) + " instead of " + std::to_string(bytes)));
    return f;
  }
  Status receive_into(const Call& call, int from, Buffer out, bool higher_too = false) {
    COHAUL_ASSIGN(Frame f, receive_frame(call, from, out.bytes(), higher_too));
    if (!f.payload.empty()) std::memcpy(out.data, f.payload.data(), f.payload.size());
    return {};
  }

  /// Sends each rank its part of the whole.
  Status send_parts(const Call& call) {
    for (int r = 0; r < size(); ++r)
      if (r != rank()) COHAUL_TRY(send_buffer(call, r, part(call.whole, r)));
    return {};
  }

  /// out = tree sum over ranks of this rank's part; `own` is this rank's term.
  Status sum_parts(const Call& call, const std::byte* own, Buffer out) {
    terms_.clear();
    for (int r = 0; r < size(); ++r) {
      if (r == rank()) {
        terms_.push_back(own);
        continue;
      }
      COHAUL_ASSIGN(frames_[r], receive_frame(call, r, out.bytes(), true));
      terms_.push_back(frames_[r].payload.data());
    }
    if (out.elements > 0) {
      if (out.dtype == DType::float32) sum_terms<float>(terms_, out.data, out.elements, float_terms_);
      else sum_terms<double>(terms_, out.data, out.elements, double_terms_);
    }
    for (Frame& f : frames_) f.release();
    return {};
  }

  /// Sends `mine` to all, and takes the others' parts of the whole.
  Status spread(const Call& call, Buffer mine) {
    COHAUL_TRY(send_to_all(call, mine));
    for (int r = 0; r < size(); ++r)
      if (r != rank()) COHAUL_TRY(receive_into(call, r, part(call.whole, r), true));
    return links_.flush(call.operation);
  }

  Links& links_;
  std::vector<Frame> frames_;  // by rank
  std::vector<const std::byte*> terms_;
  std::vector<const float*> float_terms_;
  std::vector<const double*> double_terms_;
};

}  // namespace

Piece piece_of(std::size_t n, int rank, int size) {
  std::size_t q = n / static_cast<std::size_t>(size), m = n % static_cast<std::size_t>(size);
  auto at = [&](int r) {
    return q * static_cast<std::size_t>(r) + m * static_cast<std::size_t>(r) / static_cast<std::size_t>(size);
  };
  return {at(rank), at(rank + 1)};
}

std::unique_ptr<Group> make_direct_group(Links& links) { return std::make_unique<DirectGroup>(links); }

}  // namespace cohaul::collective
