#include "libs/pipeline/shares.h"

#include <catch2/catch.hpp>

#include <string>
#include <vector>

namespace millrace::pipeline {
namespace {

constexpr uint64_t kQuota = 1000;

struct Waiting {
  std::string id;
  uint64_t bytes = 0;
  uint64_t parked = 0;
  uint64_t max_bytes = 0;
  bool refuses = false;
};

config::v1::Workspace WorkspaceOf(const std::vector<Waiting>& all) {
  config::v1::Workspace workspace;
  for (const Waiting& each : all) {
    auto& destination = *workspace.add_destinations();
    destination.set_id(each.id);
    destination.mutable_share()->set_max_bytes(each.max_bytes);
    destination.mutable_share()->set_when_used_up(each.refuses ? config::v1::REFUSE_SOURCES
                                                               : config::v1::GIVE_UP_OLDEST);
  }
  return workspace;
}

ShareEvaluation Evaluate(const std::vector<Waiting>& all, uint64_t quota = kQuota,
                         const ShareEvaluation* before = nullptr) {
  event_log::LogUsage usage{.quota_bytes = quota, .used_bytes = quota};
  usage.topics.push_back({"ingest", 5000});  // no destination's
  for (const Waiting& each : all) {
    usage.topics.push_back({"destination." + each.id, each.bytes});
    usage.topics.push_back({"parking." + each.id, each.parked});
  }
  return EvaluateShares(usage, WorkspaceOf(all), {}, before);
}

uint64_t GivenUp(const ShareEvaluation& evaluation, std::string_view id) {
  const DestinationShare* share = evaluation.Find(id);
  REQUIRE(share != nullptr);
  return share->bytes_to_give_up;
}

TEST_CASE("a destination that uses more than its share gives up until there is relief",
          "[shares]") {
  struct Case {
    const char* name;
    Waiting waiting;
    uint64_t limit, given_up;
  };
  const auto c = GENERATE(values<Case>({
      {"within a quarter of the quota", {"a", 250}, 250, 0},
      {"beyond a quarter of the quota", {"a", 251}, 250, 26},
      {"parked events count", {"a", 200, 100}, 250, 75},
      {"a share of its own, within", {"a", 500, 0, 600}, 600, 0},
      {"a share of its own, beyond", {"a", 120, 0, 100}, 100, 30},
      {"nothing waits", {"a", 0}, 250, 0},
  }));
  CAPTURE(c.name);
  const ShareEvaluation evaluation = Evaluate({c.waiting});
  const DestinationShare& share = *evaluation.Find("a");
  CHECK(share.bytes == c.waiting.bytes + c.waiting.parked);
  CHECK(share.limit_bytes == c.limit);
  CHECK(share.bytes_to_give_up == c.given_up);
  CHECK(share.used_fraction ==
        Approx(static_cast<double>(share.bytes) / static_cast<double>(c.limit)));
  CHECK_FALSE(share.refuse_sources);
}

TEST_CASE("one destination that is over its share costs no other anything", "[shares]") {
  const ShareEvaluation evaluation = Evaluate({{"dead", 600}, {"well", 10}, {"slow", 200}});
  CHECK(GivenUp(evaluation, "dead") == 375);
  CHECK(GivenUp(evaluation, "well") == 0);
  CHECK(GivenUp(evaluation, "slow") == 0);
}

TEST_CASE("when shares together are too much the largest give up first", "[shares]") {
  // Together 700 may wait; down to 630.
  SECTION("one is larger than all others") {
    const auto evaluation = Evaluate({{"large", 500, 0, 900}, {"b", 150}, {"c", 100}});
    CHECK(GivenUp(evaluation, "large") == 120);
    CHECK(GivenUp(evaluation, "b") == 0);
    CHECK(GivenUp(evaluation, "c") == 0);
  }
  SECTION("several of the same size come down to one level") {
    const auto evaluation = Evaluate({{"a", 240}, {"b", 240}, {"c", 150}, {"d", 90}});
    CHECK(GivenUp(evaluation, "a") == 45);
    CHECK(GivenUp(evaluation, "b") == 45);
    CHECK(GivenUp(evaluation, "c") == 0);
    CHECK(GivenUp(evaluation, "d") == 0);
  }
  SECTION("many small ones, each within its share") {
    std::vector<Waiting> all;
    for (int i = 0; i < 100; ++i) all.push_back({std::to_string(i), 8});
    const auto evaluation = Evaluate(all);
    CHECK(evaluation.bytes == 800);
    CHECK(evaluation.together_bytes == 700);
    for (const Waiting& each : all) CHECK(GivenUp(evaluation, each.id) == 2);
  }
  SECTION("what is given up for a share of its own counts first") {
    const auto evaluation = Evaluate({{"over", 500}, {"b", 249}, {"c", 200}});
    CHECK(GivenUp(evaluation, "over") == 275);
    CHECK(GivenUp(evaluation, "b") == 0);
  }
}

TEST_CASE("a destination that refuses its sources gives nothing up", "[shares]") {
  const auto over = Evaluate({{"a", 300, 0, 0, true}, {"b", 300}});
  CHECK(over.Find("a")->refuse_sources);
  CHECK(GivenUp(over, "a") == 0);
  CHECK_FALSE(over.Find("b")->refuse_sources);
  CHECK(GivenUp(over, "b") == 75);

  SECTION("it goes on refusing until there is relief") {
    const auto less = Evaluate({{"a", 240, 0, 0, true}}, kQuota, &over);
    CHECK(less.Find("a")->refuse_sources);
    CHECK_FALSE(Evaluate({{"a", 240, 0, 0, true}}).Find("a")->refuse_sources);
    CHECK_FALSE(Evaluate({{"a", 220, 0, 0, true}}, kQuota, &less).Find("a")->refuse_sources);
  }
  SECTION("changed to give up meanwhile") {
    const auto changed = Evaluate({{"a", 300}}, kQuota, &over);
    CHECK_FALSE(changed.Find("a")->refuse_sources);
    CHECK(GivenUp(changed, "a") == 75);
  }
  SECTION("together too much: it refuses as well, within its own share") {
    const auto together = Evaluate({{"a", 800, 0, 900, true}, {"b", 50}});
    CHECK(together.Find("a")->refuse_sources);
    CHECK(GivenUp(together, "b") == 0);
  }
}

TEST_CASE("a log without a quota has a size for each destination", "[shares]") {
  const auto evaluation = Evaluate({{"a", 11ull << 30}, {"b", 9ull << 30}}, 0);
  CHECK(evaluation.Find("a")->limit_bytes == 10ull << 30);
  CHECK(GivenUp(evaluation, "a") == 2ull << 30);
  CHECK(GivenUp(evaluation, "b") == 0);
  CHECK(evaluation.together_bytes == 0);
}

TEST_CASE("the default of the settings goes before a part of the quota", "[shares]") {
  const event_log::LogUsage usage{kQuota, kQuota, {{"destination.a", 200}}};
  const auto evaluation =
      EvaluateShares(usage, WorkspaceOf({{"a"}, {"b", 0, 0, 500}}), {.default_bytes = 100});
  CHECK(evaluation.Find("a")->limit_bytes == 100);
  CHECK(GivenUp(evaluation, "a") == 110);
  CHECK(evaluation.Find("b")->limit_bytes == 500);
}

TEST_CASE("topics of destinations that are not in the workspace count for none", "[shares]") {
  const event_log::LogUsage usage{kQuota, kQuota, {{"destination.gone", 900}}};
  const auto evaluation = EvaluateShares(usage, WorkspaceOf({{"a"}}), {});
  CHECK(evaluation.Find("gone") == nullptr);
  CHECK(evaluation.bytes == 0);
}

}  // namespace
}  // namespace millrace::pipeline
