#include "cohaul/update/plateau.h"

#include <algorithm>
#include <charconv>

#include "cohaul/base/digits.h"

namespace cohaul::update {
namespace {

constexpr double kLeastReduction = 1e-8;

/// Takes a number off the front of `text`, and the space after it.
template <class T>
bool take(std::string_view& text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (text.starts_with(' ')) text.remove_prefix(1);
  return error == std::errc();
}

}  // namespace

bool Plateau::observe(double loss) {
  if (loss < best_ * (1 - schedule_.threshold)) best_ = loss, bad_ = 0;
  else ++bad_;
  if (cooldown_ > 0) --cooldown_, bad_ = 0;
  if (bad_ <= schedule_.patience) return false;
  cooldown_ = schedule_.cooldown;
  bad_ = 0;
  return true;
}

double Plateau::reduced(double rate, double own) const {
  const double next = std::max(rate * schedule_.factor, own * schedule_.min);
  return rate - next > kLeastReduction ? next : rate;
}

std::string Plateau::text() const {
  return digits_of(best_) + " " + std::to_string(bad_) + " " + std::to_string(cooldown_);
}

Status Plateau::read(std::string_view text) {
  if (text.empty()) return {};
  std::string_view left = text;
  if (take(left, best_) && take(left, bad_) && take(left, cooldown_) && left.empty() && bad_ >= 0 && cooldown_ >= 0)
    return {};
  return invalid("\"" + std::string(text) + "\" is no state of the schedule plateau");
}

}  // namespace cohaul::update
