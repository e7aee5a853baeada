#pragma once
// TLS 1.3 (RFC 8446) with an external pre-shared key and an ephemeral Diffie-Hellman exchange (psk_dhe_ke): both ends prove that they know the key, and who
// learns it later cannot read what was said. No certificates, no tickets, no early data.

#include "cohaul/transport/stream.h"

namespace cohaul::transport {

/// So many records, 16 KB each at most, are written before the key changes.
inline constexpr int kRecordsOfKey = 1 << 16;

Result<std::unique_ptr<Stream>> make_tls_stream(Descriptor socket, const Key& key, Side side);

}  // namespace cohaul::transport
