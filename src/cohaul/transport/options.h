#pragma once
// What a process chooses of its connections: its role, the form that they take, and the ports that it listens on.

#include <cstdint>
#include <optional>
#include <string_view>

namespace cohaul::transport {

enum class Role : std::uint8_t { worker = 0, server = 1, launcher = 2, tool = 3 };
std::string_view name(Role role);

/// Which form a connection takes. auto_: the ring where both are on one host, TCP otherwise.
enum class Form : std::uint8_t { auto_, arena, tcp };
/// "auto", "arena" or "tcp".
std::string_view name(Form form);
/// The form of this name; nothing: there is none.
std::optional<Form> form_of(std::string_view name);

struct PortRange {
  std::uint16_t first = 0, last = 0;  // 0: any that the system gives
};

}  // namespace cohaul::transport
