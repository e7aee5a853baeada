#include "cohaul/checkpoint/folder.h"

#include <fcntl.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>

#include "cohaul/base/hash.h"
#include "cohaul/checkpoint/file.h"

namespace cohaul::checkpoint {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kPrefix = "step-", kTrainer = "trainer-";
constexpr std::size_t kDigits = 12;

/// Returns the number of updates in a checkpoint's name; nothing where it is no such name.
std::optional<std::int64_t> updates_of(const std::string& name) {
  if (!name.starts_with(kPrefix) || name.size() != kPrefix.size() + kDigits) return std::nullopt;
  const std::string digits = name.substr(kPrefix.size());
  if (digits.find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
  return std::stoll(digits);
}

/// Returns "trainer-1" of "trainer-1/manifest.json"; nothing where it is no such name.
std::optional<std::string> part_of(const std::string& name) {
  const std::size_t slash = name.find('/');
  if (!name.starts_with(kTrainer) || slash == std::string::npos || name.substr(slash + 1) != kManifestName)
    return std::nullopt;
  const std::string digits = name.substr(kTrainer.size(), slash - kTrainer.size());
  if (digits.empty() || digits.size() > 9 || digits.find_first_not_of("0123456789") != std::string::npos)
    return std::nullopt;
  return name.substr(0, slash);
}

Status wrong(const fs::path& path, const char* what, const std::error_code& error) {
  return invalid(path.string() + ": " + what + ": " + error.message());
}

/// Puts `from` in the place of `to`. Where the file system can swap them, `to` is whole at every moment.
Status put_in_place(const fs::path& from, const fs::path& to) {
  std::error_code error;
  const bool swapped = ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0;
  if (!swapped) fs::remove_all(to, error);
  if (!swapped && !error) fs::rename(from, to, error);
  if (error) return wrong(to, "cannot be put in its place", error);
  if (swapped) fs::remove_all(from, error);  // the older one; what stays of it goes with the next
  return {};
}

}  // namespace

std::string trainer_name(int trainer) { return std::string(kTrainer) + std::to_string(trainer); }

std::string folder_name(std::int64_t updates) {
  char name[40];
  std::snprintf(name, sizeof name, "step-%012lld", static_cast<long long>(updates));
  return name;
}

Result<std::string> begin(const std::string& folder, std::int64_t updates) {
  const fs::path path = fs::path(folder) / (folder_name(updates) + kUnfinished);
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return wrong(folder, "cannot be made", error);
  fs::remove_all(path, error);
  if (error) return wrong(path, "cannot be emptied", error);
  COHAUL_TRY(begin_part(path.string()));
  return path.string();
}

Status begin_part(const std::string& path) {
  std::error_code error;
  fs::create_directory(path, error);
  return error ? wrong(path, "cannot be made", error) : Status();
}

Status write_manifest(const std::string& checkpoint, const Manifest& manifest) {
  const std::string text = manifest.encode();
  const ConstBytes whole = as_bytes(std::string_view(text));
  return write_file(checkpoint + "/" + kManifestName, {&whole, 1});
}

Status commit(const std::string& folder, const Manifest& manifest) {
  const fs::path to = fs::path(folder) / folder_name(manifest.updates);
  const fs::path from = to.string() + kUnfinished;
  COHAUL_TRY(write_manifest(from.string(), manifest));
  COHAUL_TRY(put_in_place(from, to));
  return sync_folder(folder);
}

void prune(const std::string& folder, int keep) {
  std::vector<std::int64_t> all = list(folder);
  std::error_code ignored;
  for (std::size_t i = 0; i + static_cast<std::size_t>(std::max(keep, 1)) < all.size(); ++i)
    fs::remove_all(fs::path(folder) / folder_name(all[i]), ignored);
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kPrefix) && name.ends_with(kUnfinished)) fs::remove_all(entry.path(), ignored);
  }
}

Result<FileEntry> entry_of(const std::string& folder, const std::string& name) {
  COHAUL_ASSIGN(MappedFile file, map_file(folder + "/" + name));
  return FileEntry{name, file.bytes.size(), hash128(file.bytes)};
}

Result<Manifest> read_manifest(const std::string& checkpoint) {
  const std::string path = checkpoint + "/" + kManifestName;
  COHAUL_ASSIGN(MappedFile text, map_file(path));
  return Manifest::decode({reinterpret_cast<const char*>(text.bytes.data()), text.bytes.size()}).context(path);
}

Result<Manifest> verify(const std::string& checkpoint) {
  const std::string path = checkpoint + "/" + kManifestName;
  Result<Manifest> manifest = read_manifest(checkpoint);
  if (!manifest.ok()) return manifest;
  for (const FileEntry& f : manifest->files) {
    const std::optional<std::string> part = part_of(f.name);
    if (f.name.empty() || (!part && f.name.find('/') != std::string::npos))
      return invalid(path + ": it names the file \"" + f.name + "\" outside of its folder");
    COHAUL_ASSIGN(const FileEntry found, entry_of(checkpoint, f.name));
    if (found.bytes != f.bytes)
      return invalid(checkpoint + "/" + f.name + ": has " + std::to_string(found.bytes) + " bytes, and had " +
                     std::to_string(f.bytes) + " when it was written");
    if (found.hash != f.hash)
      return invalid(checkpoint + "/" + f.name +
                     ": its content has changed since it was written (its hash is another)");
    if (part) COHAUL_TRY(verify(checkpoint + "/" + *part).status());
  }
  return manifest;
}

std::vector<std::int64_t> list(const std::string& folder) {
  std::vector<std::int64_t> out;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (const auto updates = updates_of(entry.path().filename().string())) out.push_back(*updates);
  std::ranges::sort(out);
  return out;
}

Found find(const std::string& folder) {
  Found found;
  std::error_code ignored;
  if (fs::exists(fs::path(folder) / kManifestName, ignored)) {
    Result<Manifest> manifest = verify(folder);
    if (manifest.ok()) found.path = folder, found.manifest = *std::move(manifest);
    else found.passed_over.push_back(manifest.status());
    return found;
  }
  const std::vector<std::int64_t> all = list(folder);
  for (auto updates = all.rbegin(); updates != all.rend(); ++updates) {
    const std::string path = folder + "/" + folder_name(*updates);
    Result<Manifest> manifest = verify(path);
    if (manifest.ok()) {
      found.path = path;
      found.manifest = *std::move(manifest);
      return found;
    }
    found.passed_over.push_back(manifest.status());
  }
  return found;
}

}  // namespace cohaul::checkpoint
