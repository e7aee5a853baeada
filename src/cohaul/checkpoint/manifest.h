#pragma once
// The manifest of a checkpoint: the training that it is of, and its files. It is written last: a folder without one
// is no checkpoint.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cohaul/base/bytes.h"
#include "cohaul/base/dtype.h"
#include "cohaul/base/status.h"

namespace cohaul::checkpoint {

constexpr int kFormat = 2;  // of this version of the library; others are refused

/// A parameter of the model. Its elements lie in files as they lie in memory: by ascending address.
struct ParameterEntry {
  std::string name;
  std::vector<std::int64_t> shape, strides;  // strides in elements, without gaps
  DType dtype = DType::float32;
  bool operator==(const ParameterEntry&) const = default;
};

struct FileEntry {
  std::string name;  // in the checkpoint's folder
  std::uint64_t bytes = 0;
  std::string hash;  // XXH3 of 128 bits, in hexadecimal digits
  bool operator==(const FileEntry&) const = default;
};

/// The loop over a data set that was running, or ran last.
struct LoopEntry {
  std::int64_t number = 0;           // from 1; 0: there was none
  std::int64_t first = 0, last = 0;  // updates [first, last)
  bool running = false;
  std::string facts;  // what workers agreed on when it began
  bool operator==(const LoopEntry&) const = default;
};

struct Manifest {
  int format = kFormat;
  std::string library;        // its version
  int trainer = 0;            // which of the job's
  std::int64_t updates = 0;   // done
  std::string optimizer;      // the rule's name
  std::vector<double> rates;  // of its groups, as set_lr() or a plateau left them
  double ema = 0;             // decay of the parameters' moving average; 0: there is none
  std::string strategy;
  int workers = 1, slices = 1, threads = 1;
  std::uint64_t seed = 0;
  LoopEntry loop;
  std::vector<ParameterEntry> parameters;
  std::vector<FileEntry> files;
  bool operator==(const Manifest&) const = default;

  /// Returns it as JSON, and a last line with its hash.
  std::string encode() const;
  /// Errors: invalid: not what encode() wrote; of a newer format.
  static Result<Manifest> decode(std::string_view text);
};

}  // namespace cohaul::checkpoint
