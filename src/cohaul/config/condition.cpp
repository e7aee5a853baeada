#include "cohaul/config/condition.h"

#include <algorithm>

namespace cohaul::config {

bool is_read(const Config& job, const KeySpec& spec) {
  if (spec.only.key.empty()) return true;
  const auto value = job.find<std::string>(spec.only.key);
  return value && std::ranges::find(spec.only.values, *value) != spec.only.values.end();
}

void fill_default(Config& job, const Schema& schema, std::string_view key, Value value) {
  const KeySpec* spec = schema.find(key);
  if (spec != nullptr && !job.has(key) && is_read(job, *spec)) job.set(std::string(key), std::move(value));
}

Status check_unread(const Config& job, const KeySpec& spec) {
  if (!job.set_by_user(spec.key) || is_read(job, spec)) return {};
  const std::string wanted = spec.only.in_words();
  const auto value = job.find<std::string>(spec.only.key);
  return job.mistake(spec.key, "is read only with " + wanted + ", and " + spec.only.key +
                                   (value ? " is " + *value : std::string(" is not set")) +
                                   "; remove the key, or set " + wanted);
}

}  // namespace cohaul::config
