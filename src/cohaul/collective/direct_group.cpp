#include "cohaul/collective/direct_group.h"

#include <cstring>
#include <string>

#include "cohaul/base/last_operations.h"
#include "cohaul/update/sum.h"

namespace cohaul::collective {
namespace {

using transport::Frame;

enum Kind : std::uint16_t { kContribution = 1, kPiece, kWhole, kSingle, kBarrier };

template <class T>
void sum_terms(const std::vector<const std::byte*>& terms, std::byte* out, std::size_t n,
               std::vector<const T*>& typed) {
  typed.clear();
  for (const std::byte* t : terms) typed.push_back(reinterpret_cast<const T*>(t));
  update::tree_sum(std::span<const T* const>(typed), reinterpret_cast<T*>(out), n);
}

class DirectGroup final : public Group {
 public:
  explicit DirectGroup(Links& links)
      : links_(links), sent_(links.size()), received_(links.size()), frames_(links.size()) {
    terms_.reserve(links.size());
    float_terms_.reserve(links.size());
    double_terms_.reserve(links.size());
  }

  int rank() const override { return links_.rank(); }
  int size() const override { return links_.size(); }

  Status all_reduce(Buffer data) override {
    note_operation("all_reduce of elements", static_cast<std::int64_t>(data.elements));
    COHAUL_TRY(send_contributions(data, "all_reduce"));
    Buffer mine = part(data, rank());
    COHAUL_TRY(sum_contributions(mine.data, mine, "all_reduce"));
    return spread(mine, data, "all_reduce");
  }

  Status reduce_scatter(Buffer in, Buffer out) override {
    note_operation("reduce_scatter of elements", static_cast<std::int64_t>(in.elements));
    Buffer mine = part(in, rank());
    if (out.elements != mine.elements || out.dtype != in.dtype)
      return links_.fail(invalid("reduce_scatter: out has " + std::to_string(out.elements) +
                                 " elements, this rank's piece has " + std::to_string(mine.elements)));
    COHAUL_TRY(send_contributions(in, "reduce_scatter"));
    COHAUL_TRY(sum_contributions(mine.data, out, "reduce_scatter"));
    return links_.flush("reduce_scatter");
  }

  Status all_gather(Buffer in, Buffer out) override {
    note_operation("all_gather of elements", static_cast<std::int64_t>(out.elements));
    Buffer mine = part(out, rank());
    if (in.elements != mine.elements || out.dtype != in.dtype)
      return links_.fail(invalid("all_gather: in has " + std::to_string(in.elements) +
                                 " elements, this rank's piece has " + std::to_string(mine.elements)));
    if (in.data != mine.data && in.bytes() > 0) std::memmove(mine.data, in.data, in.bytes());
    return spread(mine, out, "all_gather");
  }

  Status broadcast(Buffer data, int root) override {
    note_operation("broadcast from rank", root);
    if (rank() != root) return receive_into(root, kWhole, data, "broadcast");
    for (int r = 0; r < size(); ++r)
      if (r != rank()) COHAUL_TRY(send_buffer(r, kWhole, data, "broadcast"));
    return links_.flush("broadcast");
  }

  Status send(Buffer data, int to) override {
    note_operation("send to rank", to);
    COHAUL_TRY(send_buffer(to, kSingle, data, "send"));
    return links_.flush("send");
  }

  Status receive(Buffer data, int from) override {
    note_operation("receive from rank", from);
    return receive_into(from, kSingle, data, "receive");
  }

  Status barrier() override {
    note_operation("barrier");
    for (int r = 0; r < size(); ++r)
      if (r != rank()) COHAUL_TRY(send_buffer(r, kBarrier, {}, "barrier"));
    for (int r = 0; r < size(); ++r)
      if (r != rank()) COHAUL_TRY(receive_into(r, kBarrier, {}, "barrier"));
    return {};
  }

 private:
  Buffer part(const Buffer& whole, int rank) const {
    Piece p = piece_of(whole.elements, rank, size());
    return {whole.data + p.begin * size_of(whole.dtype), p.end - p.begin, whole.dtype};
  }

  Status send_buffer(int to, Kind kind, Buffer data, const char* operation) {
    transport::Message m;
    m.kind = kind;
    m.clock = sent_[to]++;
    m.key = static_cast<std::uint64_t>(data.dtype);
    m.payload = {data.data, data.bytes()};
    return links_.send(to, m, operation);
  }

  /// The next frame of `from`, which must be what this rank's operation expects.
  Result<Frame> expect(int from, Kind kind, const Buffer& shape, const char* operation) {
    COHAUL_ASSIGN(Frame f, links_.receive(from, operation));
    bool same = f.kind == kind && f.clock == received_[from] && f.payload.size() == shape.bytes() &&
                f.key == static_cast<std::uint64_t>(shape.dtype);
    if (!same)
      return links_.fail(invalid(
          std::string(operation) + " of " + std::to_string(shape.bytes()) + " bytes here meets another operation, of " +
          std::to_string(f.payload.size()) + " bytes, of rank " + std::to_string(from) +
          ": all ranks must call the same operations, in the same order, with the same sizes and types"));
    ++received_[from];
    return f;
  }

  Status receive_into(int from, Kind kind, Buffer out, const char* operation) {
    COHAUL_ASSIGN(Frame f, expect(from, kind, out, operation));
    if (!f.payload.empty()) std::memcpy(out.data, f.payload.data(), f.payload.size());
    return {};
  }

  Status send_contributions(Buffer data, const char* operation) {
    for (int r = 0; r < size(); ++r)
      if (r != rank()) COHAUL_TRY(send_buffer(r, kContribution, part(data, r), operation));
    return {};
  }

  /// out = tree sum over ranks of this rank's piece; `own` is this rank's term.
  Status sum_contributions(const std::byte* own, Buffer out, const char* operation) {
    terms_.clear();
    for (int r = 0; r < size(); ++r) {
      if (r == rank()) {
        terms_.push_back(own);
        continue;
      }
      COHAUL_ASSIGN(frames_[r], expect(r, kContribution, out, operation));
      terms_.push_back(frames_[r].payload.data());
    }
    if (out.elements > 0) {
      if (out.dtype == DType::float32) sum_terms<float>(terms_, out.data, out.elements, float_terms_);
      else sum_terms<double>(terms_, out.data, out.elements, double_terms_);
    }
    for (Frame& f : frames_) f.release();
    return {};
  }

  /// Sends `mine` to all, and takes the others' pieces of `whole`.
  Status spread(Buffer mine, Buffer whole, const char* operation) {
    for (int r = 0; r < size(); ++r)
      if (r != rank()) COHAUL_TRY(send_buffer(r, kPiece, mine, operation));
    for (int r = 0; r < size(); ++r)
      if (r != rank()) COHAUL_TRY(receive_into(r, kPiece, part(whole, r), operation));
    return links_.flush(operation);
  }

  Links& links_;
  std::vector<std::int64_t> sent_, received_;  // by rank
  std::vector<Frame> frames_;
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
