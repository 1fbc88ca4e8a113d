#include "libs/delivery/give_up_rules.h"

#include <catch2/catch.hpp>

namespace millrace::delivery {
namespace {

using std::chrono::seconds;

constexpr int64_t kNow = 1'767'225'600'000'000;
constexpr int64_t kSecond = 1'000'000;
constexpr seconds kBacklog{7 * 86'400};

config::v1::Destination Enabled() {
  config::v1::Destination destination;
  destination.set_enabled(true);
  return destination;
}

void GiveUp(config::v1::Destination& destination, const std::string& id, int64_t from_us,
            int64_t before_us, const std::string& user) {
  auto& given_up = *destination.add_give_ups();
  given_up.set_id(id);
  given_up.set_appended_from_us(from_us);
  given_up.set_appended_before_us(before_us);
  given_up.set_user_key(user);
}

TEST_CASE("an event is given up when it matches each field that is set", "[give_up]") {
  struct Case {
    const char* name;
    int64_t from, before;
    std::string user;
    int64_t appended;
    bool given_up;
  };
  const auto c = GENERATE(values<Case>({
      {"all before a time", 0, kNow, "", kNow - 1, true},
      {"appended at that time: not before", 0, kNow, "", kNow, false},
      {"a span, its first", kNow - 10, kNow, "", kNow - 10, true},
      {"before the span", kNow - 10, kNow, "", kNow - 11, false},
      {"this user", 0, kNow, "ann", kNow - 1, true},
      {"another user", 0, kNow, "bob", kNow - 1, false},
      {"this user, before the span", kNow - 10, kNow, "ann", kNow - 11, false},
      {"no end: never set by the control plane, matches nothing", 0, 0, "", kNow - 1, false},
  }));
  CAPTURE(c.name);
  auto destination = Enabled();
  GiveUp(destination, "g1", c.from, c.before, c.user);
  const GiveUpRules rules(destination, kBacklog);
  CHECK(rules.Match(c.appended, "ann", kNow).has_value() == c.given_up);
}

TEST_CASE("the reason names which of several it was", "[give_up]") {
  auto destination = Enabled();
  GiveUp(destination, "g1", 0, kNow - 100, "");
  GiveUp(destination, "g2", kNow - 50, kNow - 40, "ann");
  GiveUp(destination, "g3", kNow - 30, kNow - 20, "ann");
  const GiveUpRules rules(destination, kBacklog);
  CHECK(rules.Match(kNow - 101, "bob", kNow) == "an operator gave it up (g1)");
  CHECK(rules.Match(kNow - 25, "ann", kNow) == "an operator gave it up (g3)");
  CHECK_FALSE(rules.Match(kNow - 25, "bob", kNow));
  CHECK_FALSE(rules.Match(kNow - 35, "ann", kNow));
}

TEST_CASE("the backlog of a disabled destination is kept for a set time", "[give_up]") {
  auto destination = Enabled();
  destination.set_enabled(false);
  destination.set_disabled_at_us(kNow);
  const GiveUpRules rules(destination, kBacklog);
  CHECK_FALSE(rules.empty());
  const int64_t end = kNow + kBacklog.count() * kSecond;
  CHECK_FALSE(rules.Match(kNow - kSecond, "ann", end - 1));
  CHECK(rules.Match(kNow - kSecond, "ann", end));
  SECTION("enabled again: nothing is given up") {
    destination.set_enabled(true);
    CHECK_FALSE(GiveUpRules(destination, kBacklog).Match(kNow - kSecond, "ann", end));
  }
  SECTION("disabled by an older version, which noted no time: kept") {
    destination.set_disabled_at_us(0);
    CHECK_FALSE(GiveUpRules(destination, kBacklog).Match(kNow - kSecond, "ann", end));
  }
}

TEST_CASE("a share's bound by age", "[give_up]") {
  auto destination = Enabled();
  destination.mutable_share()->set_max_age_s(60);
  const GiveUpRules rules(destination, kBacklog);
  CHECK_FALSE(rules.Match(kNow - 59 * kSecond, "ann", kNow));
  CHECK(rules.Match(kNow - 60 * kSecond, "ann", kNow) ==
        "it waited longer than the destination's share allows: 60 s");
}

TEST_CASE("without rules nothing is given up", "[give_up]") {
  CHECK(GiveUpRules().empty());
  const GiveUpRules rules(Enabled(), kBacklog);
  CHECK(rules.empty());
  CHECK_FALSE(rules.Match(1, "ann", kNow));
}

}  // namespace
}  // namespace millrace::delivery
