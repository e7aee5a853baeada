#pragma once
// The bytes of TensorBoard's event files: records with checksums (TFRecord) around messages of tensorflow/core/util/event.proto, encoded by
// hand. Pure.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cohaul::observe {

/// CRC-32C (Castagnoli), as in RFC 3720.
std::uint32_t crc32c(std::string_view bytes);

/// Returns a record of an event file: the data's length and the data, each with its masked CRC-32C.
std::string event_record(std::string_view data);

/// The first event of every file.
std::string file_version_event(double wall_time_s);
/// Scalars of one step, by tag. wall_time_s: seconds since 1970.
std::string scalars_event(double wall_time_s, std::int64_t step,
                          const std::vector<std::pair<std::string, double>>& scalars);
/// Says that a run begins anew at a step: TensorBoard drops what earlier files have of this step and later ones.
std::string restart_event(double wall_time_s, std::int64_t step);

}  // namespace cohaul::observe
