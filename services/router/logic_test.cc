#include <catch2/catch.hpp>

#include "services/router/keyed_window.h"

namespace millrace::router {
namespace {

struct Item {
  std::string_view key;
  int number = 0;
  Item* next_of_key = nullptr;
};

TEST_CASE("KeyedWindow keeps the order of each key and lets others pass", "[keyed_window]") {
  KeyedWindow<Item> window;
  Item a1{"a", 1}, a2{"a", 2}, a3{"a", 3}, b1{"b", 1};
  CHECK(window.Add(&a1));
  CHECK_FALSE(window.Add(&a2));
  CHECK(window.Add(&b1));
  CHECK(window.Finish(&a1) == &a2);
  CHECK_FALSE(window.Add(&a3));
  CHECK(window.Finish(&b1) == nullptr);
  CHECK(window.keys() == 1);
  CHECK(window.Finish(&a2) == &a3);
  CHECK(window.Finish(&a3) == nullptr);
  CHECK(window.size() == 0);
  CHECK(window.keys() == 0);
}

}  // namespace
}  // namespace millrace::router
