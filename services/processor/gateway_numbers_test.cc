#include "services/processor/gateway_numbers.h"

#include <catch2/catch.hpp>

#include <string>
#include <vector>

namespace millrace::processor {
namespace {

event::v1::EventMeta MetaOf(const std::string& gateway, int64_t started, uint64_t number,
                            uint64_t refused = 0, uint64_t unknown = 0) {
  event::v1::EventMeta meta;
  meta.set_gateway(gateway);
  meta.set_gateway_started_at_us(started);
  meta.set_gateway_sequence(number);
  meta.set_gateway_refused(refused);
  meta.set_gateway_unknown(unknown);
  meta.set_received_at_us(1000 + static_cast<int64_t>(number));
  return meta;
}

/// As the next commit, or the partition's next owner, finds it.
GatewayNumbers Again(GatewayNumbers numbers) {
  GatewayNumbers again = GatewayNumbers::FromNote(numbers.Note(), 0);
  CHECK(again.gateways() == numbers.gateways());
  CHECK(again.lost() == numbers.lost());
  return again;
}

TEST_CASE("A number that does not come is a lost record", "[gaps]") {
  struct Case {
    const char* name;
    std::vector<uint64_t> numbers;
    uint64_t refused;
    uint64_t unknown;
    uint64_t lost;
  };
  const auto c = GENERATE(values<Case>({
      {"all came", {1, 2, 3, 4}, 0, 0, 0},
      {"one in the middle", {1, 2, 4}, 0, 0, 1},
      {"the first ones", {4}, 0, 0, 3},
      {"the log refused them", {1, 2, 5}, 2, 0, 0},
      {"fewer were refused than are missing", {1, 5}, 2, 0, 1},
      {"it is not sure of one", {1, 4}, 1, 1, 0},
      {"out of a spill, late", {1, 2, 6, 3, 4, 5}, 0, 0, 0},
      {"some out of a spill that lost the rest", {1, 6, 3, 4}, 0, 0, 2},
  }));
  CAPTURE(c.name);
  GatewayNumbers numbers;
  for (const uint64_t number : c.numbers) {
    numbers.See(MetaOf("g", 5, number, c.refused, c.unknown), false);
    numbers = Again(numbers);
  }
  CHECK(numbers.lost() == c.lost);
}

TEST_CASE("A record that was appended twice makes up for no other", "[gaps]") {
  GatewayNumbers numbers;
  numbers.See(MetaOf("g", 5, 1), false);
  numbers.See(MetaOf("g", 5, 3), false);
  numbers.See(MetaOf("g", 5, 3), true);
  CHECK(Again(numbers).lost() == 1);
}

TEST_CASE("Each start of a gateway counts from one", "[gaps]") {
  GatewayNumbers numbers;
  numbers.See(MetaOf("a", 5, 1), false);
  numbers.See(MetaOf("b", 5, 1), false);
  numbers.See(MetaOf("a", 5, 2), false);
  numbers.See(MetaOf("a", 9, 2), false);  // 1 is missing
  numbers.See({}, false);                 // of a version without numbers
  CHECK(numbers.gateways().size() == 3);
  CHECK(Again(numbers).lost() == 1);
}

TEST_CASE("What an older version has read is not missed", "[gaps]") {
  GatewayNumbers numbers = GatewayNumbers::FromNote("", 100);
  numbers.See(MetaOf("old", 50, 400), false);
  CHECK(Again(numbers).lost() == 0);
  numbers.See(MetaOf("old", 50, 402), false);
  CHECK(Again(numbers).lost() == 1);
  numbers.See(MetaOf("new", 150, 3), false);
  CHECK(Again(numbers).lost() == 3);
  CHECK(GatewayNumbers::FromNote("nonsense\n", 7).lost() == 0);
}

TEST_CASE("The note stays small; what was lost stays counted when its gateway is forgotten",
          "[gaps]") {
  GatewayNumbers numbers;
  for (int64_t start = 1; start <= 500; ++start) {
    event::v1::EventMeta meta = MetaOf(std::string(300, 'g'), start, 2);
    meta.set_received_at_us(start);
    numbers.See(meta, false);
    CHECK(numbers.Note().size() <= 3500);
  }
  numbers = Again(numbers);
  CHECK(numbers.gateways().size() > 5);
  CHECK(numbers.lost() == 500);
  // One that comes back after it was forgotten is not missed a second time.
  numbers.See(MetaOf(std::string(300, 'g'), 3, 7), false);
  CHECK(numbers.lost() == 500);
}

}  // namespace
}  // namespace millrace::processor
