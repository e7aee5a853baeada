#include "cohaul/cli/keys_command.h"

#include <iostream>
#include <span>
#include <vector>

#include "cohaul/base/exit_code.h"
#include "cohaul/cli/job_schema.h"
#include "cohaul/config/describe.h"
#include "cohaul/config/nearest.h"

namespace cohaul::cli {
namespace {

using config::KeySpec;

/// Prints three lines for each key: its name and default, its meaning, and its allowed values.
void print_text(const std::vector<KeySpec>& keys) {
  for (const KeySpec& spec : keys) {
    const std::string fallback = default_in_words(spec), only = only_in_words(spec);
    std::cout << spec.key
              << (spec.required      ? "  (needed)"
                  : fallback.empty() ? ""
                                     : " = " + fallback)
              << "\n    " << spec.help << "\n    " << values_in_words(spec) << (only.empty() ? "" : "; " + only)
              << "\n";
  }
}

void print_markdown(const std::vector<KeySpec>& keys) {
  std::cout << "| key | values | meaning |\n|---|---|---|\n";
  for (const KeySpec& spec : keys) {
    const std::string fallback = default_in_words(spec), only = only_in_words(spec);
    std::string values = values_in_words(spec);
    if (!spec.choices.empty()) values = "`" + config::listed(spec.choices, "`, `") + "`";
    std::cout << "| `" << spec.key << "`" << (fallback.empty() ? "" : " (`" + fallback + "`)") << " | " << values
              << " | " << spec.help << (only.empty() ? "" : "; " + only) << (spec.required ? "; needed" : "") << " |\n";
  }
}

int unknown(const std::string& pattern, std::span<const KeySpec> all) {
  std::vector<std::string> names;
  for (const KeySpec& spec : all) names.push_back(spec.key), names.push_back(spec.key.substr(spec.key.find('.') + 1));
  const std::string best = config::nearest(pattern, names);
  std::cerr << "cohaul: keys: no key holds " << pattern << (best.empty() ? "" : "; did you mean " + best + "?")
            << " `cohaul keys` lists all\n";
  return kUsersMistake;
}

}  // namespace

int run_keys(const KeysArguments& arguments) {
  const config::Schema schema = job_schema(false);
  const auto all = schema.keys();
  std::vector<KeySpec> chosen;
  for (const KeySpec& spec : all)
    if (config::matches(spec.key, arguments.pattern)) chosen.push_back(spec);
  if (chosen.empty()) return unknown(arguments.pattern, all);
  if (arguments.markdown) print_markdown(chosen);
  else print_text(chosen);
  return kDone;
}

}  // namespace cohaul::cli
