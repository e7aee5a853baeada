#include "cohaul/data/idx.h"

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

namespace cohaul::data {
namespace {

namespace fs = std::filesystem;

struct Close {
  void operator()(gzFile f) const { gzclose(f); }
};
using Gz = std::unique_ptr<gzFile_s, Close>;

/// Opens a file, plain or gzipped; zlib reads plain files too.
Result<Gz> open(const fs::path& file) {
  errno = 0;
  Gz gz(gzopen(file.c_str(), "rb"));
  if (!gz)
    return invalid(std::string("cannot be opened: ") + std::strerror(errno ? errno : ENOMEM) +
                   "; check data.path and its rights");
  gzbuffer(gz.get(), 256 << 10);
  return gz;
}

/// Fills `out` and returns the number of bytes, which is smaller at the end of the file.
Result<std::size_t> read(gzFile gz, Bytes out) {
  std::size_t done = 0;
  while (done < out.size()) {
    unsigned want = static_cast<unsigned>(std::min<std::size_t>(out.size() - done, 1 << 30));
    int got = gzread(gz, out.data() + done, want);
    int error = Z_OK;
    const char* text = gzerror(gz, &error);
    if (got < 0 || error == Z_BUF_ERROR) {
      return invalid(std::string("cannot be unpacked: ") + (error == Z_ERRNO ? std::strerror(errno) : text) +
                     "; fetch it again");
    }
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

/// Returns the unpacked length from gzip's trailer (modulo 2^32), or the size of a plain file.
Result<std::uint64_t> length_of(const fs::path& file, bool plain, const IdxHeader& header) {
  std::error_code error;
  std::uint64_t size = fs::file_size(file, error);
  if (error) return invalid("has no size: " + error.message());
  if (plain) return size;
  std::ifstream in(file, std::ios::binary);
  unsigned char b[4] = {};
  in.seekg(-4, std::ios::end);
  in.read(reinterpret_cast<char*>(b), 4);
  std::uint32_t low = b[0] | b[1] << 8 | b[2] << 16 | std::uint32_t{b[3]} << 24;
  if (low == static_cast<std::uint32_t>(header.file_bytes())) return header.file_bytes();
  // The file is cut short, or has several gzip members: only unpacking can tell.
  COHAUL_ASSIGN(Gz gz, open(file));
  std::vector<std::byte> part(1 << 20);
  std::uint64_t total = 0;
  for (;;) {
    COHAUL_ASSIGN(std::size_t got, read(gz.get(), part));
    total += got;
    if (got < part.size()) return total;
  }
}

Result<IdxHeader> header_of(const fs::path& file, IdxKind kind) {
  COHAUL_ASSIGN(Gz gz, open(file));
  std::byte start[header_bytes(IdxKind::images)];
  COHAUL_ASSIGN(std::size_t got, read(gz.get(), Bytes(start).first(header_bytes(kind))));
  COHAUL_ASSIGN(IdxHeader header, decode_idx_header(Bytes(start).first(got), kind));
  COHAUL_ASSIGN(std::uint64_t length, length_of(file, gzdirect(gz.get()) != 0, header));
  COHAUL_TRY(check_idx_length(header, length));
  return header;
}

Status values_of(const fs::path& file, const IdxHeader& header, Bytes out) {
  COHAUL_ASSIGN(Gz gz, open(file));
  std::byte start[header_bytes(IdxKind::images)];
  COHAUL_ASSIGN(std::size_t got, read(gz.get(), Bytes(start).first(header_bytes(header.kind))));
  COHAUL_ASSIGN(IdxHeader now, decode_idx_header(Bytes(start).first(got), header.kind));
  if (now.values() != header.values() || now.count != header.count || out.size() != header.values()) {
    return invalid("changed while it was being read; start again");
  }
  COHAUL_ASSIGN(std::size_t values, read(gz.get(), out));
  std::byte beyond[1];
  COHAUL_ASSIGN(std::size_t more, read(gz.get(), beyond));
  return check_idx_length(header, header_bytes(header.kind) + values + more);
}

}  // namespace

Result<fs::path> find_idx(const fs::path& folder, const std::string& stem) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    return invalid(folder.string() +
                   ": no such folder; data.path names a folder of IDX files (Debian's package "
                   "dataset-fashion-mnist installs one at /usr/share/datasets/fashion-mnist)");
  }
  for (const char* suffix : {"", ".gz"}) {
    if (fs::path file = folder / (stem + suffix); fs::exists(file, error)) return file;
  }
  return invalid(folder.string() + ": has neither " + stem + " nor " + stem +
                 ".gz; data.path names a folder with "
                 "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, "
                 "plain or gzipped");
}

Result<IdxHeader> read_idx_header(const fs::path& file, IdxKind kind) {
  return header_of(file, kind).context(file.string());
}

Status read_idx(const fs::path& file, const IdxHeader& header, Bytes out) {
  return values_of(file, header, out).context(file.string());
}

}  // namespace cohaul::data
