#include "cohaul/update/plateau.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "cohaul/update/test_schedule_figures.h"

namespace cohaul::update {
namespace {

TEST(Plateau, GivesTheRatesOfPyTorchAlsoWhenItGoesOnFromItsText) {
  for (const PlateauFigures& figures : kPlateauFigures) {
    ASSERT_TRUE(figures.schedule.check().ok()) << figures.schedule.check().message();
    double rate = 1;
    std::string text;
    for (std::size_t k = 0; k < figures.losses.size(); ++k) {
      Plateau plateau(figures.schedule);
      ASSERT_TRUE(plateau.read(text).ok()) << text;
      const double nan = std::numeric_limits<double>::quiet_NaN();
      if (plateau.observe(k == 7 ? nan : figures.losses[k])) rate = plateau.reduced(rate, 1);
      EXPECT_DOUBLE_EQ(rate, figures.rates[k]) << "evaluation " << k << ", factor " << figures.schedule.factor;
      text = plateau.text();
    }
    EXPECT_LT(rate, 0.6) << "the figures have a fall";
  }
}

TEST(Plateau, GroupsKeepTheirOwnLeastRate) {
  const Plateau plateau({.kind = Schedule::Kind::plateau, .min = 0.2, .factor = 0.5});
  EXPECT_EQ(plateau.reduced(1, 1), 0.5);
  EXPECT_EQ(plateau.reduced(0.3, 1), 0.2);
  EXPECT_EQ(plateau.reduced(0.3, 0.1), 0.15);
  EXPECT_EQ(plateau.reduced(0.1, 1), 0.1) << "set by hand below the least";
  EXPECT_EQ(plateau.reduced(1.5e-8, 0), 1.5e-8) << "as torch's eps";
}

TEST(Plateau, RefusesATextThatIsNone) {
  for (const char* text : {"x", "1 2", "1 2 3 4", "1 -2 0", "1 2 -3", "1 2 3x"})
    EXPECT_EQ(Plateau({.kind = Schedule::Kind::plateau}).read(text).code(), Code::invalid) << text;
}

TEST(Plateau, NamesTheSettingThatIsWrong) {
  const auto message = [](Schedule s) {
    s.kind = Schedule::Kind::plateau;
    return s.check().message();
  };
  EXPECT_EQ(message({}), "");
  EXPECT_EQ(message({.factor = 1}), "schedule.factor is 1; it must be at least 0 and below 1");
  EXPECT_EQ(message({.patience = -1}), "schedule.patience is -1; it must be from 0 to 1000000000000000");
  EXPECT_NE(message({.threshold = -0.1}), "");
  EXPECT_NE(message({.cooldown = -1}), "");
  EXPECT_NE(message({.min = 2}), "");
}

}  // namespace
}  // namespace cohaul::update
