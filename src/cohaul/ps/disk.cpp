#include "cohaul/ps/disk.h"

#include <future>
#include <utility>

#include "cohaul/base/watch.h"
#include "cohaul/checkpoint/lock.h"
#include "cohaul/checkpoint/state_file.h"

namespace cohaul::ps {
namespace {

class RealDisk final : public Disk {
 public:
  explicit RealDisk(job::Job& job) : job_(job) {}
  void save(const std::string& folder, const std::string& name, const std::string& key, const update::Layout& layout,
            std::span<const update::StatePiece> pieces) override {
    Result<checkpoint::FileImage> image = checkpoint::state_image(copies_, name, layout, pieces);
    writing_ = std::async(std::launch::async, [this, folder, key, image = std::move(image)]() mutable {
      const InBackground here;
      const Result<std::vector<checkpoint::FileEntry>> written =
          image.ok() ? checkpoint::write_images(folder, {&*image, 1}) : image.status();
      if (image.ok()) image->data.reset();  // so that the next image can use the memory
      // If this fails, the job is broken, and worker 0 learns of it.
      (void)job_.set(key, checkpoint::text_of(written)).ok();
    });
  }
  Status look(const std::string& folder, const std::string& mark) override {
    return checkpoint::expect_shared(folder, mark);
  }
  Status restore(const std::string& checkpoint, const update::Layout& layout,
                 std::span<const update::StatePiece> pieces) override {
    return checkpoint::restore(checkpoint, layout, pieces);
  }

 private:
  job::Job& job_;
  checkpoint::ImageMemory copies_;
  std::future<void> writing_;  // assigning to it, and destroying it, blocks until the write is done
};

}  // namespace

std::unique_ptr<Disk> make_disk(job::Job& job) { return std::make_unique<RealDisk>(job); }

}  // namespace cohaul::ps
