#pragma once
// A model's buffers within a step: each slice starts with the same values, and all workers get one result of what the slices leave.

#include <cstdint>
#include <string>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/status.h"
#include "cohaul/train/model.h"
#include "cohaul/update/exchange.h"
#include "cohaul/update/tree_fold.h"

namespace cohaul::train {

/// One thread uses it. Under Buffers::own, and for a model without buffers, its functions do nothing.
class StepBuffers {
 public:
  /// buffers: in the order of `layout`, of which they are the last entries. small: the reducer's memory of this name, of which it uses the buffers'
  /// places. several: this worker has more than one slice of a step, so buffers must be reset between them. All must outlive it.
  StepBuffers(Buffers policy, const update::Layout& layout, const NamedTensors& buffers, update::Exchange& exchange,
              Bytes small, bool several);

  /// Records the buffers' present values, with which every slice of the next step starts.
  void remember();
  void begin(const std::vector<update::SliceRange>& parts);
  /// Takes the buffers' values after a slice's backward, and pushes them when a part is complete. more: another slice of this worker follows, so the
  /// recorded values are restored. samples: of the part so far, as with its gradients. Errors: invalid (a buffer's size has changed; slices leave
  /// different counters), and the exchange's.
  Status end_slice(bool more, double samples);
  bool empty() const { return entries_.empty(); }
  /// Returns a hash of the buffers without a mean, after the last slice: PartEnd::counters.
  std::uint64_t counters() const { return counters_; }
  /// Copies the step's result into the buffers, after the exchange's finish().
  void take();
  /// Gives the step up. Buffers need no reset: end_slice() has restored them after each slice that was answered.
  void abandon();
  /// Restores the recorded values after a slice that was not answered, if others were before it.
  void restart();

  /// Returns a hash of all present values; 0 where there is nothing to do.
  std::uint64_t hash() const;
  /// Returns the buffers without a mean as facts, one line each.
  std::string counter_facts() const;
  /// Copies the buffers that have a mean into the exchange's flat area.
  void put();
  /// Returns the values of the other buffers as bytes, and sets them from such bytes.
  std::string counters_text() const;
  void set_counters(const std::string& text);

 private:
  struct Entry {
    std::string name;
    at::Tensor tensor;
    std::uint64_t offset = 0, bytes = 0;  // its place in the flat area
    DType dtype = DType::float32;         // type in which its mean is computed
    std::int32_t bucket = -1;             // the layout's bucket; -1: it has no mean, and must be equal after all slices
    std::int32_t index = 0;               // position in its bucket
    const void* data = nullptr;           // its address when it was recorded
    bool was_replaced = false;            // it has got other memory since then, as by torch::load
  };
  using Values = std::vector<std::byte>;  // values of all entries, each at its offset minus first_offset_
  struct Mean {
    Values values;
    std::int32_t slices = 1;
  };

  Status read(std::byte* to) const;
  void write(const Entry& entry, const std::byte* from) const;
  Status follow_replaced();
  Mean combine(Mean left, const Mean& right) const;
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
  std::int32_t slice_ = 0;  // number of the next slice
  update::TreeFold<Mean> fold_;
  std::uint64_t counters_ = 0;
};

}  // namespace cohaul::train
