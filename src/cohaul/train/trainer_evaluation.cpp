// Evaluation: every worker computes a part of the test set, and all workers add the same sums in the same order.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstring>

#include "cohaul/base/last_operations.h"
#include "cohaul/base/random.h"
#include "cohaul/train/job_facts.h"
#include "cohaul/train/trainer_impl.h"

namespace cohaul::train {
namespace {

// The most sums that a worker sends to the others; consecutive batches are added before.
constexpr std::int64_t kSumsMax = 8192;
constexpr std::uint64_t kEvaluationSeed = 0x6576616c;

/// Restores LibTorch's random generator when it is destroyed.
class KeepGenerator {
 public:
  KeepGenerator() : generator_(at::detail::getDefaultCPUGenerator()), state_(generator_.get_state()) {}
  ~KeepGenerator() { generator_.set_state(state_); }
  KeepGenerator(const KeepGenerator&) = delete;
  void seed(std::uint64_t seed) { generator_.set_current_seed(seed); }

 private:
  at::Generator generator_;
  at::Tensor state_;
};

bool has_floating_buffers(const Model& model) {
  return std::ranges::any_of(model.buffers,
                             [](const auto& b) { return b.second.defined() && b.second.is_floating_point(); });
}

}  // namespace

/// Returns the sums of the loss and of each metric over the samples of the test set's batches [first, last).
std::vector<double> Trainer::Impl::evaluate_batches(const data::DataSet& set, const Loss& loss, const Metrics& metrics,
                                                    std::int64_t batch, std::int64_t first, std::int64_t last) {
  std::vector<double> sums(1 + metrics.size());
  std::vector<std::int64_t> indices;
  KeepGenerator generator;
  for (std::int64_t b = first; b < last; ++b) {
    indices.clear();
    for (std::int64_t i = b * batch; i < std::min((b + 1) * batch, set.size()); ++i) indices.push_back(i);
    generator.seed(mix_seed(options_.seed, kEvaluationSeed, static_cast<std::uint64_t>(b)));
    const data::Batch samples = set.get(indices);
    sums[0] += loss(samples).item<double>() * static_cast<double>(indices.size());
    for (std::size_t m = 0; m < metrics.size(); ++m) sums[m + 1] += metrics[m].second(samples);
  }
  return sums;
}

/// Returns, at all workers, the values of each worker, one after the other.
std::vector<double> Trainer::Impl::gather(const std::string& key, const std::vector<double>& mine) {
  std::vector<double> all;
  const auto* bytes = reinterpret_cast<const char*>(mine.data());
  or_throw(say(key + "/" + std::to_string(job_.rank()), std::string(bytes, mine.size() * sizeof(double))));
  for (int r = 0; r < job_.world(); ++r) {
    const std::string theirs = or_throw(hear(r, key + "/" + std::to_string(r)));
    const std::size_t n = theirs.size() / sizeof(double), had = all.size();
    all.resize(had + n);
    if (n > 0) std::memcpy(all.data() + had, theirs.data(), n * sizeof(double));
  }
  return all;
}

Evaluation Trainer::Impl::evaluate(const data::DataSet& set, const Loss& loss, const Metrics& metrics,
                                   std::int64_t batch) {
  expect_usable();
  settle();
  if (batch < 1) throw Error(invalid("evaluate(batch = " + std::to_string(batch) + "): it must be at least 1 sample"));
  note_operation("evaluate");
  const Time begun = steady_clock().now();
  or_throw(meetings_.meet("evaluate()", done_, evaluation_facts(set, batch, metrics.size(), buffers_->hash())));
  const std::int64_t batches = (set.size() + batch - 1) / batch;
  // Batches are added in spans of the same length for any number of workers, so the sums have the same bits.
  const std::int64_t span = std::max<std::int64_t>(1, (batches + kSumsMax - 1) / kSumsMax);
  const std::int64_t spans = (batches + span - 1) / span;
  // Split layers need every worker for every batch. Buffers, and parameters within an asynchronous loop, may differ between workers; then worker 0's
  // are used.
  const bool split = !model_->model().split.empty();
  const bool own_buffers = has_floating_buffers(model_->model()) && !model_->layout().has_buffers();
  const bool own = own_buffers || (loop_.running() && asynchronous());
  const int workers = split || own ? 1 : job_.world(), rank = split ? 0 : job_.rank();
  std::vector<double> sums;
  if (rank < workers) {
    at::NoGradGuard no_grad;
    const EvaluationMode mode(model_->model());
    for (std::int64_t s = spans * rank / workers; s < spans * (rank + 1) / workers; ++s) {
      const std::vector<double> of_span =
          evaluate_batches(set, loss, metrics, batch, s * span, std::min((s + 1) * span, batches));
      sums.insert(sums.end(), of_span.begin(), of_span.end());
    }
  }
  if (!split && job_.world() > 1)
    sums = gather(meetings_.group() + "/evaluation/" + std::to_string(evaluations_++), sums);
  const auto n = static_cast<double>(std::max<std::int64_t>(set.size(), 1));
  const std::size_t each = 1 + metrics.size();
  std::vector<double> whole(each);
  for (std::size_t i = 0; i < sums.size(); ++i) whole[i % each] += sums[i];
  Evaluation out;
  out.loss = whole[0] / n;
  for (std::size_t m = 0; m < metrics.size(); ++m) out.metrics.emplace_back(metrics[m].first, whole[m + 1] / n);
  if (job_.rank() != 0) return out;
  observe::Event told{"evaluation", {{"step", done_}, {"loss", out.loss}}};
  for (const auto& [name, value] : out.metrics) told.add(name, value);
  told.add("samples", set.size());
  told.add("seconds", static_cast<double>(steady_clock().now() - begun) / 1e9);
  telling_.tell(told);
  return out;
}

}  // namespace cohaul::train
