#include "cohaul/base/status.h"

#include <gtest/gtest.h>

#include "cohaul/base/bytes.h"
#include "cohaul/base/last_operations.h"

namespace cohaul {
namespace {

TEST(Status, KeepsTheRootCauseAndTheChain) {
  Status s = peer_lost("connection closed").context("server 1").context("step 300");
  EXPECT_EQ(s.message(), "step 300: server 1: connection closed");
  EXPECT_EQ(s.cause(), "connection closed");
  EXPECT_EQ(s.code(), Code::peer_lost);
  EXPECT_TRUE(Status{}.context("nothing").ok());
}

Result<int> half(int n) {
  if (n % 2) return invalid("odd");
  return n / 2;
}
Result<int> quarter(int n) {
  COHAUL_ASSIGN(int h, half(n));
  return half(h);
}

TEST(Result, PassesErrorsOn) {
  EXPECT_EQ(*quarter(8), 2);
  EXPECT_EQ(quarter(6).status().cause(), "odd");
}

TEST(ResultDeathTest, OfAnOkStatusIsAProgrammingError) {
  EXPECT_DEATH((void)Result<int>(Status{}), "a Result is made of a value or of an error");
}

TEST(Bytes, ReaderNeverPassesTheEnd) {
  std::vector<std::byte> b;
  Writer(b).put(std::uint16_t{7}).text("abc");
  Reader r(b);
  EXPECT_EQ(r.get<std::uint16_t>(), 7);
  EXPECT_EQ(r.text(), "abc");
  EXPECT_TRUE(r.done());
  Reader cut(ConstBytes(b).first(b.size() - 1));
  cut.get<std::uint16_t>();
  EXPECT_EQ(cut.text(), "");
  EXPECT_FALSE(cut.ok());
}

TEST(LastOperations, NewestIsNamed) {
  note_operation("push partition", 7, 300);
  EXPECT_EQ(last_operation(), "push partition 7 300");
}

}  // namespace
}  // namespace cohaul
