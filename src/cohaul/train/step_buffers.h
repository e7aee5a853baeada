#pragma once
// A model's buffers within a step: each slice starts from the same ones, and what the slices leave becomes one value for all workers.

#include <cstdint>
#include <string>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"
#include "cohaul/train/model.h"
#include "cohaul/update/exchange.h"
#include "cohaul/update/tree_fold.h"

namespace cohaul::train {

/// One thread. Under Buffers::own, and without buffers, there is nothing to do, and nothing is done.
class StepBuffers {
 public:
  /// buffers: the last entries of `layout`, in its order. small: as the reducer's, of which it uses the buffers' places. All outlive it.
  /// several: this worker has more than one slice of a step, so that the first values must come back.
  StepBuffers(Buffers policy, const update::Layout& layout, const NamedTensors& buffers, update::Exchange& exchange,
              Bytes small, bool several);

  /// The buffers' present values are those that every slice of the next step starts from.
  void remember();
  void begin(const std::vector<update::SliceRange>& parts);
  /// After backward of the next slice: takes its values, and pushes those of a part that is complete. more: another slice of this worker follows, for
  /// which the first values come back. samples: of the part so far, as its gradients say. Errors: invalid (a buffer has another size than it had; slices leave different counters), and
  /// the exchange's.
  Status end_slice(bool more, double samples);
  bool empty() const { return entries_.empty(); }
  /// Of the buffers that have no mean, after the last slice: PartEnd::counters.
  std::uint64_t counters() const { return counters_; }
  /// After the exchange's finish(): what came of the buffers.
  void take();
  /// The step is given up. A slice that was answered has left the first values behind.
  void abandon();
  /// Gives the first values back after a slice that was not answered, where others were before it.
  void restart();

  /// Of all present values; 0 where there is nothing to do.
  std::uint64_t hash() const;
  /// The buffers that have no mean, a line each, as facts.
  std::string counter_facts() const;
  /// Into the exchange's flat area: those that it carries.
  void put();
  /// Those that it does not carry, as bytes; and back.
  std::string counters_text() const;
  void set_counters(const std::string& text);

 private:
  struct Entry {
    std::string name;
    at::Tensor tensor;
    std::uint64_t offset = 0, bytes = 0;  // in the flat area
    DType dtype = DType::float32;         // of its mean
    std::int32_t run = -1;                // -1: it has no mean, and must be the same after all slices
    std::int32_t index = 0;               // in its run
    const void* data = nullptr;           // where it lay when it was remembered
    bool was_replaced = false;            // since then, as torch::load does
  };
  using Values = std::vector<std::byte>;  // of all entries, each at its offset, from first_offset_
  struct Mean {
    Values values;
    std::int32_t slices = 1;
  };

  Status read(std::byte* to) const;
  void write(const Entry& entry, const std::byte* from) const;
  Status follow_replaced();
  Mean join(Mean left, const Mean& right) const;
  Status compare_counters();
  Status push(const std::byte* values, double samples);
  std::byte* of(std::byte* values, const Entry& entry) const { return values + (entry.offset - first_offset_); }
  const std::byte* of(const std::byte* values, const Entry& entry) const {
    return values + (entry.offset - first_offset_);
  }
  Bytes place_of_part() const { return small_.subspan(part_ * layout_.bytes(), layout_.bytes()); }

  const update::Layout& layout_;
  update::Exchange& exchange_;
  const Bytes small_;
  const bool several_;
  std::vector<Entry> entries_;
  std::uint64_t first_offset_ = 0, bytes_ = 0;
  Values first_, now_, counted_;
  std::vector<update::SliceRange> parts_;
  std::size_t part_ = 0;
  std::int32_t slice_ = 0;  // the next one
  update::TreeFold<Mean> fold_;
  std::uint64_t counters_ = 0;
};

}  // namespace cohaul::train
