// The six functions of PMIx that are needed, by their published interface (PMIx Standard 4.1, chapters 5 and 7). The library is loaded when it is
// needed: it belongs to the engine, and Cohaul is built without it.

#include <dlfcn.h>

#include <chrono>
#include <cstring>
#include <future>
#include <memory>
#include <thread>

#include "cohaul/job/engines/directory.h"

namespace cohaul::job {
namespace {

constexpr const char* kLibrary = "libpmix.so.2";
constexpr const char* kKey = "cohaul.host";
constexpr std::uint16_t kString = 3;  // PMIX_STRING
constexpr std::uint8_t kGlobal = 3;   // PMIX_GLOBAL

struct Process {  // pmix_proc_t
  char name_space[256];
  std::uint32_t rank;
};
struct Value {  // pmix_value_t
  std::uint16_t type;
  union {
    char* string;
    std::uint64_t room[8];
  } data;
};

template <class F>
Result<F*> find(void* library, const char* name) {
  if (void* found = ::dlsym(library, name)) return reinterpret_cast<F*>(found);
  return unsupported(std::string(kLibrary) + " has no " + name);
}

Status check(int code, const char* what) {
  return code == 0 ? Status() : internal(std::string(what) + " fails with PMIx code " + std::to_string(code));
}

Result<std::string> exchange(bool says, std::string host) {
  void* const library = ::dlopen(kLibrary, RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr)
    return unsupported(std::string("Open MPI on several hosts says through PMIx where they are, and ") + kLibrary +
                       " cannot be loaded (" + ::dlerror() +
                       "): install it (Debian's libpmix2), or set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT");
  COHAUL_ASSIGN(auto* const init, find<int(Process*, void*, std::size_t)>(library, "PMIx_Init"));
  COHAUL_ASSIGN(auto* const put, find<int(std::uint8_t, const char*, Value*)>(library, "PMIx_Put"));
  COHAUL_ASSIGN(auto* const commit, find<int()>(library, "PMIx_Commit"));
  COHAUL_ASSIGN(auto* const fence,
                find<int(const Process*, std::size_t, const void*, std::size_t)>(library, "PMIx_Fence"));
  COHAUL_ASSIGN(auto* const get,
                find<int(const Process*, const char*, const void*, std::size_t, Value**)>(library, "PMIx_Get"));
  COHAUL_ASSIGN(auto* const finalize, find<int(const void*, std::size_t)>(library, "PMIx_Finalize"));

  Process self{};
  COHAUL_TRY(check(init(&self, nullptr, 0), "PMIx_Init"));
  if (says) {
    Value value{.type = kString, .data = {.string = host.data()}};
    COHAUL_TRY(check(put(kGlobal, kKey, &value), "PMIx_Put"));
    COHAUL_TRY(check(commit(), "PMIx_Commit"));
  }
  COHAUL_TRY(check(fence(nullptr, 0, nullptr, 0), "PMIx_Fence"));
  Process first = self;
  first.rank = 0;
  Value* said = nullptr;  // the library's: one a process, not given back
  COHAUL_TRY(check(get(&first, kKey, nullptr, 0, &said), "PMIx_Get"));
  if (said == nullptr || said->type != kString || said->data.string == nullptr)
    return internal("PMIx_Get gives no text");
  std::string out = said->data.string;
  COHAUL_TRY(check(finalize(nullptr, 0), "PMIx_Finalize"));
  return out;
}

}  // namespace

Result<std::string> host_by_pmix(bool says, const std::string& host, Time deadline) {
  // PMIx has no deadline that all engines keep, so a thread of its own waits. Where the deadline is missed it is left
  // behind, since the process ends then.
  auto answer = std::make_shared<std::promise<Result<std::string>>>();
  std::future<Result<std::string>> heard = answer->get_future();
  std::thread([answer, says, host] { answer->set_value(exchange(says, host)); }).detach();
  if (heard.wait_for(std::chrono::nanoseconds(deadline - steady_clock().now())) == std::future_status::ready)
    return heard.get();
  return peer_lost("PMIx did not say in time where task 0 is: other tasks may not have come");
}

}  // namespace cohaul::job
