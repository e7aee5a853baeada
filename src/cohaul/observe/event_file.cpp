#include "cohaul/observe/event_file.h"

#include <array>
#include <bit>

namespace cohaul::observe {
namespace {

constexpr std::array<std::uint32_t, 256> crc_table() {
  constexpr std::uint32_t kCastagnoli = 0x82f63b78;  // reflected
  std::array<std::uint32_t, 256> out{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    out[i] = i;
    for (int bit = 0; bit < 8; ++bit) out[i] = (out[i] >> 1) ^ ((out[i] & 1) ? kCastagnoli : 0);
  }
  return out;
}

/// Little-endian.
template <class Word>
std::string fixed(Word word) {
  std::string out;
  for (std::size_t i = 0; i < sizeof(Word); ++i) out += static_cast<char>((word >> (8 * i)) & 0xff);
  return out;
}

// A CRC of bytes that hold their own CRC is a constant, so TFRecord masks it.
std::string masked_crc(std::string_view bytes) { return fixed(std::rotr(crc32c(bytes), 15) + 0xa282ead8u); }

// ---- Protocol Buffers: a field is its number and wire type, then its value

enum WireType : std::uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

std::string varint(std::uint64_t v) {
  std::string out;
  for (; v >= 0x80; v >>= 7) out += static_cast<char>((v & 0x7f) | 0x80);
  return out + static_cast<char>(v);
}

std::string key(std::uint32_t field, WireType type) { return varint(field << 3 | type); }
std::string integer(std::uint32_t field, std::int64_t v) {
  return key(field, kVarint) + varint(static_cast<std::uint64_t>(v));
}
std::string real(std::uint32_t field, double v) {
  return key(field, kFixed64) + fixed(std::bit_cast<std::uint64_t>(v));
}
std::string real(std::uint32_t field, float v) { return key(field, kFixed32) + fixed(std::bit_cast<std::uint32_t>(v)); }
std::string bytes(std::uint32_t field, std::string_view v) {
  return key(field, kBytes) + varint(v.size()) + std::string(v);
}

// Fields of the messages Event, Summary, Summary.Value and SessionLog.
constexpr std::uint32_t kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;
constexpr std::uint32_t kValue = 1, kTag = 1, kSimpleValue = 2, kStatus = 1;
constexpr std::int64_t kStart = 1;

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<std::uint32_t, 256> kTable = crc_table();
  std::uint32_t crc = ~0u;
  for (const char c : bytes) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return ~crc;
}

std::string event_record(std::string_view data) {
  const std::string length = fixed(static_cast<std::uint64_t>(data.size()));
  return length + masked_crc(length) + std::string(data) + masked_crc(data);
}

std::string file_version_event(double wall_time_s) {
  return real(kWallTime, wall_time_s) + bytes(kFileVersion, "brain.Event:2");
}

std::string scalars_event(double wall_time_s, std::int64_t step,
                          const std::vector<std::pair<std::string, double>>& scalars) {
  std::string summary;
  for (const auto& [tag, v] : scalars)
    summary += bytes(kValue, bytes(kTag, tag) + real(kSimpleValue, static_cast<float>(v)));
  return real(kWallTime, wall_time_s) + integer(kStep, step) + bytes(kSummary, summary);
}

std::string restart_event(double wall_time_s, std::int64_t step) {
  return real(kWallTime, wall_time_s) + integer(kStep, step) + bytes(kSessionLog, integer(kStatus, kStart));
}

}  // namespace cohaul::observe
