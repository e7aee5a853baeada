#pragma once
// For tests: a group whose ranks are threads of this process.

#include <barrier>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "cohaul/collective/group.h"

namespace cohaul::parallel {

/// The state that the ranks share: a barrier, and the address of each rank's buffer.
struct Meeting {
  explicit Meeting(int size) : gate(size), buffers(static_cast<std::size_t>(size)) {}
  std::barrier<> gate;
  std::vector<collective::Buffer> buffers;
  int calls = 0;  // of rank 0
};

class ThreadGroup : public collective::Group {
 public:
  ThreadGroup(Meeting& meeting, int rank) : meeting_(meeting), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(meeting_.buffers.size()); }
  Status all_reduce(collective::Buffer data) override {
    return meet(data, [&] {
      std::vector<std::byte> sum(data.bytes());
      for (const auto& b : meeting_.buffers) {
        for (std::size_t i = 0; i < data.elements; ++i) {
          if (data.dtype == DType::float32)
            reinterpret_cast<float*>(sum.data())[i] += reinterpret_cast<const float*>(b.data)[i];
          else reinterpret_cast<double*>(sum.data())[i] += reinterpret_cast<const double*>(b.data)[i];
        }
      }
      meeting_.gate.arrive_and_wait();
      copy(data.data, sum.data(), data.bytes());
    });
  }
  Status all_gather(collective::Buffer in, collective::Buffer out) override {
    if (in.elements * meeting_.buffers.size() != out.elements) return unsupported("uneven pieces");
    return meet(in, [&] {
      for (std::size_t r = 0; r < meeting_.buffers.size(); ++r)
        copy(out.data + r * in.bytes(), meeting_.buffers[r].data, in.bytes());
      meeting_.gate.arrive_and_wait();
    });
  }
  Status broadcast(collective::Buffer data, int root) override {
    return meet(data, [&] {
      if (rank_ != root) copy(data.data, meeting_.buffers[static_cast<std::size_t>(root)].data, data.bytes());
      meeting_.gate.arrive_and_wait();
    });
  }
  Status reduce_scatter(collective::Buffer, collective::Buffer) override { return unsupported("in this test"); }
  Status send(collective::Buffer, int) override { return unsupported("in this test"); }
  Status receive(collective::Buffer, int) override { return unsupported("in this test"); }
  Status barrier() override { return unsupported("in this test"); }

  Status fail_with;  // when not ok, what every call returns

 private:
  static void copy(std::byte* to, const std::byte* from, std::size_t n) {
    if (n > 0) std::memcpy(to, from, n);
  }
  Status meet(collective::Buffer mine, const std::function<void()>& work) {
    COHAUL_TRY(fail_with);
    if (rank_ == 0) ++meeting_.calls;
    meeting_.buffers[static_cast<std::size_t>(rank_)] = mine;
    meeting_.gate.arrive_and_wait();
    work();
    meeting_.gate.arrive_and_wait();
    return {};
  }
  Meeting& meeting_;
  int rank_;
};

struct ThreadGroups {
  explicit ThreadGroups(int size) : meeting(size) {
    for (int r = 0; r < size; ++r) ranks.push_back(std::make_unique<ThreadGroup>(meeting, r));
  }
  /// Calls body(rank) on one thread for each rank, and waits for all.
  void run(const std::function<void(int)>& body) {
    std::vector<std::thread> threads;
    for (int r = 0; r < static_cast<int>(ranks.size()); ++r) threads.emplace_back(body, r);
    for (auto& t : threads) t.join();
  }
  Meeting meeting;
  std::vector<std::unique_ptr<ThreadGroup>> ranks;
};

}  // namespace cohaul::parallel
