#pragma once
// A program's data: every sample is a pure function of (seed, number), so that any process computes any slice of any step.

#include "cohaul/data/data_set.h"
#include "program.h"

namespace cohaul::programs {

constexpr int kTokens = 3;       // columns of the input that are numbers of an embedding's rows
constexpr int kVocabulary = 7;   // which are below this
constexpr int kSamples = 23;     // of the training set
constexpr int kTestSamples = 9;  // of the test set

/// input [n, width + kTokens], target [n, outputs], or [n] classes.
class Samples final : public data::DataSet {
 public:
  /// The numbers `first` … first + size − 1 of all the program's samples. program outlives it.
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
/// What an own loop computes there: n samples.
data::Batch own_batch(const Program& program, const Place& place, int n);
/// What a probe before that step computes.
data::Batch probe_batch(const Program& program, int step);

}  // namespace cohaul::programs
