#include "libs/warehouse/schema.h"

#include <catch2/catch.hpp>

namespace millrace::warehouse {
namespace {

TEST_CASE("the difference of schemas makes tables and adds columns, and never changes one",
          "[schema]") {
  Schema have;
  have["tracks"].columns = {{"id", DataType::kString}, {"price", DataType::kInt}};
  const std::vector<WantedTable> wanted = {
      {"orders", {{"id", DataType::kString}, {"total", DataType::kFloat}}},
      {"tracks", {{"id", DataType::kString}, {"price", DataType::kString}, {"n", DataType::kInt}}},
  };
  const auto changes = Diff(have, wanted);
  REQUIRE(changes.size() == 2);
  CHECK(changes[0] ==
        SchemaChange{.table = "orders", .create = true, .columns = wanted[0].columns});
  CHECK(changes[1] == SchemaChange{.table = "tracks", .columns = {{"n", DataType::kInt}}});

  Apply(changes, &have);
  CHECK(Diff(have, wanted).empty());
  CHECK(have["tracks"].columns["price"] == DataType::kInt);
}

TEST_CASE("columns of the layout have types of their own", "[schema]") {
  CHECK(LayoutType("users", "id") == DataType::kString);
  CHECK(LayoutType("any", "received_at") == DataType::kDatetime);
  CHECK(LayoutType("groups", "group_id") == DataType::kString);
  CHECK_FALSE(LayoutType("any", "group_id").has_value());
}

}  // namespace
}  // namespace millrace::warehouse
