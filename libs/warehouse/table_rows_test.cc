#include "libs/warehouse/table_rows.h"

#include <catch2/catch.hpp>

#include "libs/warehouse/batch.h"

namespace millrace::warehouse {
namespace {

using Discards = std::vector<std::string>;

TableRows::OnDiscard Into(Discards& discards) {
  return [&discards](std::string_view id, const Discard& discard) {
    discards.push_back(std::string(id) + "." + std::string(discard.column) + ": " +
                       std::string(discard.reason));
  };
}

std::string Text(TableRows& rows) {
  rows.Finish();
  std::string text;
  rows.Lines(0, rows.size(), &text);
  return text;
}

TEST_CASE("the first type of a column stands, later values are brought to it", "[table_rows]") {
  Discards discards;
  TableRows rows("orders", MergeMode::kReplace, nullptr, 100);
  rows.Add({{"id", "1"}, {"n", "1.5", DataType::kFloat}, {"s", "x"}}, 1, Into(discards));
  rows.Add({{"id", "2"}, {"n", "2", DataType::kInt}, {"s", "true", DataType::kBoolean}}, 1,
           Into(discards));
  rows.Add({{"id", "3"}, {"n", "many"}, {"late", "1", DataType::kInt}}, 1, Into(discards));
  CHECK(Text(rows) == "1\t1.5\tx\t\\N\n2\t2\ttrue\t\\N\n3\t\\N\t\\N\t1\n");
  CHECK(discards == Discards{"3.n: a value of type string does not fit the column's type float"});
  CHECK(rows.columns()[1] == ColumnDef{"n", DataType::kFloat});
}

TEST_CASE("the type that the warehouse has wins; JSON columns take everything", "[table_rows]") {
  TableSchema have;
  have.columns = {{"id", DataType::kString},
                  {"a", DataType::kJson},
                  {"b", DataType::kInt},
                  {"c", DataType::kUnsupported}};
  Discards discards;
  TableRows rows("t", MergeMode::kReplace, &have, 100);
  rows.Add({{"id", "1"}, {"a", "say \"hi\""}, {"b", "2.5", DataType::kFloat}, {"c", "x"}}, 1,
           Into(discards));
  CHECK(Text(rows) == R"(1	"say \\"hi\\""	\N)" + std::string("\n"));
  CHECK(discards.size() == 2);
}

TEST_CASE("of one id the later row stands", "[table_rows]") {
  Discards discards;
  TableRows rows("t", MergeMode::kReplace, nullptr, 100);
  rows.Add({{"id", "1"}, {"v", "old"}}, 10, Into(discards));
  rows.Add({{"id", "2"}, {"v", "other"}}, 10, Into(discards));
  rows.Add({{"id", "1"}, {"v", "new"}}, 10, Into(discards));
  rows.Add({{"id", "1"}, {"v", "older still"}}, 5, Into(discards));
  CHECK(rows.size() == 2);
  CHECK(Text(rows) == "2\tother\n1\tnew\n");
  CHECK(rows.Ids() == std::vector<std::string_view>{"2", "1"});
}

TEST_CASE("users keep the latest value of each column", "[table_rows]") {
  Discards discards;
  TableRows rows("users", MergeMode::kLatest, nullptr, 100);
  rows.Add({{"id", "u"}, {"a", "1"}, {"b", "1"}}, 10, Into(discards));
  rows.Add({{"id", "u"}, {"a", "2"}, {"c", "2"}}, 20, Into(discards));
  rows.Add({{"id", "u"}, {"a", "0"}, {"d", "tab\there"}}, 5, Into(discards));
  CHECK(rows.size() == 1);
  CHECK(Text(rows) == "u\t2\t1\t2\ttab\\there\n");
}

TEST_CASE("a table that is full takes no further column", "[table_rows]") {
  TableSchema have;
  have.columns = {{"id", DataType::kString}};
  have.dropped_columns = 1;
  Discards discards;
  TableRows rows("t", MergeMode::kReplace, &have, 3);
  rows.Add({{"id", "1"}, {"a", "1"}, {"b", "2"}}, 1, Into(discards));
  CHECK(Text(rows) == "1\t1\n");
  CHECK(discards == Discards{"1.b: the table has its limit of 3 columns"});
}

TEST_CASE("a batch notes what does not fit in rudder_discards, once", "[batch]") {
  Schema schema;
  schema["t"].columns = {{"id", DataType::kString}, {"n", DataType::kInt}};
  Batch batch(schema, 100, "2026-01-02T03:04:05.000Z");
  const Row row{.table = "t", .cells = {{"id", "1"}, {"n", "x"}}};
  batch.Add(row, 1, "2026-01-01T00:00:00.000Z");
  batch.Add(row, 1, "2026-01-01T00:00:00.000Z");
  batch.Finish();
  CHECK(batch.rows() == 1);
  CHECK(batch.discards() == 1);
  const auto changes = batch.Changes();
  REQUIRE(changes.size() == 2);
  CHECK(changes[0].table == "rudder_discards");
  CHECK(changes[0].create);
  CHECK(changes[1] == SchemaChange{.table = "t", .columns = {{"uuid_ts", DataType::kDatetime}}});
}

}  // namespace
}  // namespace millrace::warehouse
