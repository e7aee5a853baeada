#pragma once
// A program's data: every sample is a pure function of (seed, number), so that any process computes any slice of any step.

#include "cohaul/data/data_set.h"
#include "program.h"

namespace cohaul::programs {

constexpr int kTokens = 3;       // number of columns of the input that are row numbers of an embedding
constexpr int kVocabulary = 7;   // row numbers are below this
constexpr int kSamples = 23;     // size of the training set
constexpr int kTestSamples = 9;  // size of the test set

/// Samples with input [n, width + kTokens], and target [n, outputs] or classes [n].
class Samples final : public data::DataSet {
 public:
  /// A set of the samples first … first + size − 1 of the program. program must outlive it.
  Samples(const Program& program, std::int64_t first, std::int64_t size)
      : program_(program), first_(first), size_(size) {}
  std::int64_t size() const override { return size_; }
  data::Batch get(std::span<const std::int64_t> indices) const override;

 private:
  const Program& program_;
  std::int64_t first_, size_;
};

Samples training_set(const Program& program);
Samples test_set(const Program& program);
/// Returns the n samples of an own loop's slice.
data::Batch own_batch(const Program& program, const Place& place, int n);
/// Returns the samples of a probe before that step.
data::Batch probe_batch(const Program& program, int step);

}  // namespace cohaul::programs
