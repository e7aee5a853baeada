#pragma once
// The secret that the processes of a job share where it leaves its host.

#include <string>

#include "cohaul/base/status.h"
#include "cohaul/transport/channel.h"

namespace cohaul::job {

/// A shorter one could be guessed.
inline constexpr std::size_t kSecretLeast = 32;

/// Returns the text of a file that only its owner can read, without white space at its ends. invalid, naming the
/// file: it cannot be read, others can read it, or it is shorter than kSecretLeast.
Result<std::string> read_secret(const std::string& file);
/// Writes 32 random bytes, as digits, into a new file that only its owner can read; makes its folder. invalid: it
/// cannot be written, or exists already.
Status make_secret(const std::string& file);

/// Returns where a user's secret is kept: ~/.config/cohaul/secret; empty: the environment names no home.
std::string users_secret_file();

/// Returns the key of one run of a job (HKDF with SHA-256, RFC 5869). A process with another run's key cannot talk in
/// this one.
transport::Key key_of(const std::string& secret, const std::string& run_name);

}  // namespace cohaul::job
