#pragma once
// TLS 1.3 (RFC 8446) with an ephemeral Diffie-Hellman exchange: a secret that becomes known later does not reveal
// what was said before. Both ends prove that they know an external pre-shared key (psk_dhe_ke), or that each has a
// certificate of the job. No tickets, no early data.

#include "cohaul/transport/stream.h"

namespace cohaul::transport {

/// How many records, of 16 KB at most, are written before the key changes.
inline constexpr int kRecordsOfKey = 1 << 16;

Result<std::unique_ptr<Stream>> make_tls_stream(Descriptor socket, const Credentials& credentials, Side side);

}  // namespace cohaul::transport
