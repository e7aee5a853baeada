// Runs random training programs, each under torch::optim in one process and under Cohaul in many settings, and compares the results.
//
//   programs_test [--count N] [--seed S] [--settings few|some|all] [--lanes N] [--failures N]
//                 [--json FILE] [--without FEATURE;FEATURE]
//   programs_test --program SEED | --file FILE     one program, in all settings (or those that hold --setting TEXT)
//   programs_test --draw N                         only counts features
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <map>
#include <sstream>
#include <thread>

#include "check.h"
#include "cohaul/base/random.h"
#include "generate.h"
#include "messages.h"
#include "report.h"
#include "shrink.h"

namespace cohaul::programs {
namespace {

constexpr int kDrawn = 4'000;
constexpr double kRefusedPercentMax = 2;

struct Options {
  int count = 200, failures = 1, draw = 0;
  int lanes = 2;  // number of programs at the same time; one setting runs one of them at a time
  std::uint64_t seed = 1;
  std::string settings = "few", setting, json, file, program, without;
  double shrink_s = 60;
};

Options read(int argc, char** argv) {
  std::map<std::string, std::string> words;
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    const auto equals = word.find('=');
    if (!word.starts_with("--")) throw std::invalid_argument("no option: " + word);
    if (equals != std::string::npos) words[word.substr(2, equals - 2)] = word.substr(equals + 1);
    else if (i + 1 < argc) words[word.substr(2)] = argv[++i];
    else throw std::invalid_argument(word + " wants a value");
  }
  Options o;
  for (const auto& [name, value] : words) {
    if (name == "count") o.count = std::stoi(value);
    else if (name == "failures") o.failures = std::stoi(value);
    else if (name == "lanes") o.lanes = std::stoi(value);
    else if (name == "draw") o.draw = std::stoi(value);
    else if (name == "seed") o.seed = std::stoull(value);
    else if (name == "settings") o.settings = value;
    else if (name == "setting") o.setting = value;
    else if (name == "json") o.json = value;
    else if (name == "file") o.file = value;
    else if (name == "program") o.program = value;
    else if (name == "without") o.without = value;
    else if (name == "shrink") o.shrink_s = std::stod(value);
    else throw std::invalid_argument("no option --" + name);
  }
  return o;
}

std::uint64_t seed_of(const Options& o, int i) { return mix_seed(o.seed, static_cast<std::uint64_t>(i)) >> 16; }

/// Returns the settings for one program: three of the few; or single and one of each kind of the rest; or all.
std::vector<Setting> chosen(const Options& o, const std::vector<Setting>& all, const Program& p, std::uint64_t seed) {
  std::vector<Setting> out;
  for (const Setting& s : all)
    if (s.workers <= p.slices && s.name().find(o.setting) != std::string::npos) out.push_back(s);
  if (o.settings == "all") return out;
  Random random(seed, 7);
  for (std::size_t i = out.size(); i > 1; --i) std::swap(out[i - 1], out[random.below(i)]);
  if (o.settings == "few") {
    out.resize(std::min<std::size_t>(out.size(), 3));
    return out;
  }
  std::map<std::tuple<std::string, bool, bool>, Setting> one;
  for (const Setting& s : out) one.insert({{s.strategy, s.servers > 0, s.tcp}, s});
  out.clear();
  for (const auto& [way, s] : one) out.push_back(s);
  std::ranges::stable_sort(out, {}, [](const Setting& s) { return s.strategy != "single"; });
  return out;
}

/// Returns whether the program has a feature that this search leaves out, because a fault in it is known.
bool is_left_out(const std::string& without, const Program& p) {
  const std::vector<bool> has = features_of(p);
  std::istringstream names(without);
  for (std::string name; std::getline(names, name, ';');) {
    const auto at = std::ranges::find(feature_names(), name) - feature_names().begin();
    if (has.at(static_cast<std::size_t>(at))) return true;
  }
  return false;
}

struct Failure {
  int index = 0;
  std::uint64_t seed = 0;
  Fault fault;
};

class Driver {
 public:
  explicit Driver(Options o)
      : options_(std::move(o)),
        checker_(options_.settings == "few" && options_.setting.empty() ? few_settings() : all_settings()) {}

  int many() {
    const double begun_s = now_s();
    std::vector<std::thread> lanes;
    for (int i = 0; i < options_.lanes; ++i) lanes.emplace_back([this] { lane(); });
    for (std::thread& t : lanes) t.join();
    const double seconds = now_s() - begun_s;
    report_.print(std::cout, seconds);
    if (!options_.json.empty()) std::ofstream(options_.json) << report_.json(seconds).dump(1) << "\n";
    std::ranges::sort(failures_, {}, &Failure::index);
    for (const Failure& f : failures_) tell(f);
    if (!failures_.empty()) show_smallest(failures_.front());
    const bool too_many = report_.refused() * 100.0 > kRefusedPercentMax * report_.programs();
    if (too_many) std::cout << "more than " << kRefusedPercentMax << " % of the programs were refused\n";
    return failures_.empty() && !too_many ? 0 : 1;
  }

  int one(const Program& program) {
    std::cout << describe(program) << std::endl;
    const Verdict v = checker_.check(program, chosen(options_, checker_.settings(), program, program.seed));
    if (v.idle) std::cout << "fewer than half of its parameters move, or it diverges\n";
    if (v.fault) std::cout << v.fault->setting.name() << ": " << v.fault->what << "\n";
    else std::cout << "agrees in " << v.runs << " settings; largest error " << v.largest_error << "\n";
    return v.fault ? 1 : 0;
  }

 private:
  void lane() {
    for (int i = next_++; i < limit_ && !enough_; i = next_++) {
      const std::uint64_t seed = seed_of(options_, i);
      const Program program = draw(seed);
      if (is_left_out(options_.without, program)) continue;
      const Verdict verdict = checker_.check(program, chosen(options_, checker_.settings(), program, seed));
      report_.add(program, verdict);
      limit_ += verdict.idle;  // another program is drawn in its place
      const std::lock_guard lock(mutex_);
      if (verdict.fault) {
        failures_.push_back({i, seed, *verdict.fault});
        std::cerr << "program " << i << " (--program " << seed << "), " << verdict.fault->setting.name() << ": "
                  << verdict.fault->what << std::endl;
      }
      enough_ = static_cast<int>(failures_.size()) >= options_.failures;
      if (const int done = ++done_; done % 500 == 0) std::cerr << done << " programs" << std::endl;
    }
  }

  /// Draws a program. One thread at a time, because rapidcheck keeps its state in globals.
  Program draw(std::uint64_t seed) {
    const std::lock_guard lock(drawing_);
    return program_of(seed).value();
  }

  static void tell(const Failure& f) {
    std::cout << "\nprogram " << f.index + 1 << ": " << f.fault.setting.name() << ": " << f.fault.what
              << "\nagain: programs_test --program " << f.seed << "\n";
  }

  void show_smallest(const Failure& f) {
    std::vector<Setting> settings = {f.fault.setting};
    if (settings.front().strategy != "single") settings.insert(settings.begin(), all_settings().front());
    std::string what = f.fault.what;
    auto fails = [&](const Program& p) {
      if (is_left_out(options_.without, p)) return false;
      const Verdict v = checker_.check(p, settings);
      const bool failed = v.fault && v.fault->setting.strategy != "torch::optim";
      if (failed) what = v.fault->setting.name() + ": " + v.fault->what;
      return failed;
    };
    const auto drawn = program_of(f.seed);
    if (f.fault.setting.strategy == "torch::optim") {
      std::cout << describe(drawn.value());
      return;
    }
    const Shrunk smallest = shrink(drawn, fails, options_.shrink_s);
    const std::string file = "failing-" + std::to_string(f.seed) + ".json";
    std::ofstream(file) << to_json(smallest.program).dump(1) << "\n";
    std::cout << "\nthe smallest of " << smallest.tried << " tried (programs_test --file " << file << "):\n\n"
              << describe(smallest.program) << "\n"
              << what << "\n";
  }

  Options options_;
  Checker checker_;
  Report report_;
  std::mutex mutex_, drawing_;
  std::vector<Failure> failures_;
  std::atomic<int> next_ = 0, done_ = 0, limit_ = options_.count;
  std::atomic<bool> enough_ = false;
};

/// Checks that every feature and every pair is drawn often enough.
int count_features(int programs, std::uint64_t seed) {
  Counts counts;
  for (int i = 0; i < programs; ++i) counts.add(program_of(mix_seed(seed, static_cast<std::uint64_t>(i), 1)).value());
  const std::string rare = counts.too_rare();
  if (rare.empty()) return 0;
  std::cout << "too rare among " << programs << " programs drawn:\n" << rare;
  return 1;
}

int run(const Options& o) {
  at::set_num_threads(1);
  if (o.draw > 0) return count_features(o.draw, o.seed);
  if (!o.program.empty() || !o.file.empty()) {
    Options all = o;
    all.settings = "all";
    if (!o.program.empty()) return Driver(all).one(program_of(std::stoull(o.program)).value());
    std::ifstream in(o.file);
    return Driver(all).one(from_json(nlohmann::json::parse(in)));
  }
  if (const int rare = count_features(kDrawn, o.seed); rare != 0) return rare;
  return Driver(o).many();
}

}  // namespace
}  // namespace cohaul::programs

int main(int argc, char** argv) {
  try {
    return cohaul::programs::run(cohaul::programs::read(argc, argv));
  } catch (const std::exception& e) {
    std::cerr << "programs_test: " << e.what() << "\n";
    return 2;
  }
}
