#include "libs/warehouse/schema.h"

#include <algorithm>
#include <array>

namespace millrace::warehouse {
namespace {

constexpr std::array<std::string_view, 13> kStrings = {"id",
                                                       "anonymous_id",
                                                       "user_id",
                                                       "channel",
                                                       "event",
                                                       "event_text",
                                                       "context_ip",
                                                       "context_passed_ip",
                                                       "context_request_ip",
                                                       "context_source_id",
                                                       "context_source_type",
                                                       "context_destination_id",
                                                       "context_destination_type"};
constexpr std::array<std::string_view, 5> kTimes = {"received_at", "sent_at", "timestamp",
                                                    "original_timestamp", "uuid_ts"};

}  // namespace

std::vector<SchemaChange> Diff(const Schema& have, const std::vector<WantedTable>& wanted) {
  std::vector<SchemaChange> changes;
  for (const WantedTable& table : wanted) {
    const auto found = have.find(table.name);
    SchemaChange change{.table = table.name, .create = found == have.end()};
    for (const ColumnDef& column : table.columns) {
      if (change.create || !found->second.columns.contains(column.name)) {
        change.columns.push_back(column);
      }
    }
    if (!change.columns.empty()) changes.push_back(std::move(change));
  }
  return changes;
}

void Apply(const std::vector<SchemaChange>& changes, Schema* schema) {
  for (const SchemaChange& change : changes) {
    TableSchema& table = (*schema)[change.table];
    for (const ColumnDef& column : change.columns) table.columns[column.name] = column.type;
  }
}

std::optional<DataType> LayoutType(std::string_view table, std::string_view column) {
  if (std::ranges::find(kStrings, column) != kStrings.end()) return DataType::kString;
  if (std::ranges::find(kTimes, column) != kTimes.end()) return DataType::kDatetime;
  if ((table == "groups" && column == "group_id") ||
      (table == "aliases" && column == "previous_id")) {
    return DataType::kString;
  }
  return std::nullopt;
}

}  // namespace millrace::warehouse
