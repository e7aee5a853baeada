// Arbitrary bytes as an IDX file: they are refused, or decoded to exactly the values that the header counts.

#include "cohaul/base/check.h"
#include "cohaul/data/idx_format.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cohaul;
  ConstBytes file{reinterpret_cast<const std::byte*>(data), size};
  for (data::IdxKind kind : {data::IdxKind::labels, data::IdxKind::images}) {
    auto decoded = data::decode_idx(file, kind);
    if (!decoded.ok()) {
      COHAUL_CHECK(decoded.status().code() == Code::invalid && !decoded.status().message().empty(),
                   "a refusal says why");
      continue;
    }
    COHAUL_CHECK(decoded->values.size() == decoded->header.values() && decoded->header.count > 0,
                 "as many values as counted");
    COHAUL_CHECK(decoded->values.data() + decoded->values.size() == file.data() + file.size(),
                 "up to the end of the file");
    if (kind == data::IdxKind::labels) (void)data::check_labels(decoded->values, 10).ok();
  }
  return 0;
}
