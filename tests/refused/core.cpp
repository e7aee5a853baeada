// What the folders below LibTorch promise at compile time. Each number of PROGRAM puts one line that the compiler must refuse in the place of its
// twin, which compiles; a test looks for the error. With 0 all twins are compiled.

#include <string>
#include <utility>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/ids.h"
#include "cohaul/base/mutex.h"
#include "cohaul/base/status.h"
#include "cohaul/base/temporary_folder.h"
#include "cohaul/job/memory_file.h"
#include "cohaul/transport/channel.h"
#include "cohaul/transport/descriptor.h"

using namespace cohaul;

Status send();
Result<int> count();

void ids(ServerRank server, Step step, Version version) {
#if PROGRAM == 1
  WorkerRank worker = server;
#else
  WorkerRank worker(server.value);
#endif
#if PROGRAM == 2
  bool same = step == version;
#else
  bool same = step.value == version.value;
#endif
#if PROGRAM == 3
  PartitionId partition = 3;
#else
  PartitionId partition(3);
#endif
  (void)worker, (void)same, (void)partition;
}

Status errors() {
#if PROGRAM == 4
  send();
#else
  COHAUL_TRY(send());
#endif
#if PROGRAM == 5
  count();
#else
  (void)count();
#endif
  const Result<int> counted = count();
#if PROGRAM == 6
  const int sum = 1 + counted;
#else
  const int sum = 1 + *counted;
#endif
#if PROGRAM == 7
  const bool sent = send();
#else
  const bool sent = send().ok();
#endif
  (void)sum, (void)sent;
  return {};
}

void owners(transport::Arena arena, transport::Frame frame, transport::Descriptor descriptor, TemporaryFolder folder,
            job::MemoryFile file) {
#if PROGRAM == 8
  transport::Arena other_arena = arena;
#else
  transport::Arena other_arena = std::move(arena);
#endif
#if PROGRAM == 9
  transport::Frame other_frame = frame;
#else
  transport::Frame other_frame = std::move(frame);
#endif
#if PROGRAM == 10
  transport::Descriptor other_descriptor = descriptor;
#else
  transport::Descriptor other_descriptor = std::move(descriptor);
#endif
#if PROGRAM == 11
  TemporaryFolder other_folder = folder;
#else
  TemporaryFolder other_folder = std::move(folder);
#endif
#if PROGRAM == 12
  job::MemoryFile other_file = file;
#else
  job::MemoryFile other_file = std::move(file);
#endif
}

void bytes(std::vector<std::byte>& out, const std::string& name) {
#if PROGRAM == 13
  Writer writer(std::vector<std::byte>{});
  writer.put(1);
#else
  Writer writer(out);
  writer.put(1);
#endif
#if PROGRAM == 14
  Writer(out).put(name);
#else
  Writer(out).text(name);
#endif
}

void locks(Mutex& mutex) {
#if PROGRAM == 15
  const MutexLock lock{Mutex()};
#else
  const MutexLock lock(mutex);
#endif
#if PROGRAM == 16
  Mutex other = mutex;
#else
  Mutex other;
#endif
#if PROGRAM == 17
  MutexLock{other};
#else
  const MutexLock locked{other};
#endif
}
