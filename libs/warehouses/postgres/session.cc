#include "libs/warehouses/postgres/session.h"

#include <fmt/format.h>

#include <charconv>
#include <map>
#include <utility>

namespace millrace::warehouses::postgres {
namespace {

using warehouse::ColumnDef;
using warehouse::Load;
using warehouse::LoadOutcome;
using warehouse::LoadResult;
using warehouse::MergeMode;
using warehouse::TableRows;

constexpr std::string_view kPositionsTable = "millrace_loads";
constexpr std::string_view kUsersStage = "millrace_users_stage";

int64_t ToInt(const std::string& text) {
  int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

std::string Hex(std::string_view bytes) {
  std::string hex = "\\x";
  for (const char c : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return hex;
}

std::string FromHex(std::string_view hex) {
  std::string bytes;
  for (size_t i = 2; i + 1 < hex.size(); i += 2) {
    unsigned value = 0;
    std::from_chars(hex.data() + i, hex.data() + i + 2, value, 16);
    bytes.push_back(static_cast<char>(value));
  }
  return bytes;
}

}  // namespace

std::string PostgresSession::Name(std::string_view table) const {
  return fmt::format("{}.{}", dialect_.Quote(name_space_), dialect_.Quote(table));
}

std::string PostgresSession::ColumnList(const TableRows& table, const std::string& prefix) {
  std::string list;
  const PostgresDialect dialect;
  for (const ColumnDef& column : table.columns()) {
    if (!list.empty()) list += ", ";
    list += prefix + dialect.Quote(column.name);
  }
  return list;
}

Status PostgresSession::Prepare() {
  Rows rows;
  Failure failure =
      connection_->Query("SELECT 1 FROM pg_namespace WHERE nspname = $1", {name_space_}, &rows);
  if (!failure.ok()) return failure.status;
  if (rows.empty()) {
    failure = connection_->Run(
        fmt::format("CREATE SCHEMA IF NOT EXISTS {}", dialect_.Quote(name_space_)));
    if (!failure.ok()) return Annotate(failure.status, "cannot create schema " + name_space_);
  }
  rows.clear();
  failure = connection_->Query("SELECT 1 WHERE to_regclass($1) IS NOT NULL",
                               {Name(kPositionsTable)}, &rows);
  if (!failure.ok()) return failure.status;
  if (!rows.empty()) return OkStatus();
  failure = connection_->Run(fmt::format(
      "CREATE TABLE IF NOT EXISTS {} (destination_id text NOT NULL, topic text NOT NULL, "
      "partition integer NOT NULL, next_offset bigint NOT NULL, note bytea NOT NULL, "
      "events bigint NOT NULL, loads bigint NOT NULL, loaded_at timestamptz NOT NULL, "
      "PRIMARY KEY (destination_id, topic, partition))",
      Name(kPositionsTable)));
  return Annotate(failure.status, "cannot create tables in schema " + name_space_);
}

StatusOr<warehouse::Schema> PostgresSession::ReadSchema() {
  Rows rows;
  Failure failure = connection_->Query(
      "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attisdropped, "
      "a.attgenerated <> '' OR a.attidentity = 'a' "
      "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
      "JOIN pg_namespace n ON n.oid = c.relnamespace "
      "WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND a.attnum > 0",
      {name_space_}, &rows);
  if (!failure.ok()) return failure.status;
  warehouse::Schema schema;
  for (const auto& row : rows) {
    warehouse::TableSchema& table = schema[row[0]];
    if (row[3] == "t") {
      ++table.dropped_columns;
    } else {
      table.columns[row[1]] =
          row[4] == "t" ? warehouse::DataType::kUnsupported : dialect_.ParseType(row[2]);
    }
  }
  return schema;
}

StatusOr<std::vector<warehouse::Position>> PostgresSession::ReadPositions(
    std::string_view destination_id) {
  Rows rows;
  Failure failure = connection_->Query(
      fmt::format("SELECT topic, partition, next_offset, note FROM {} WHERE destination_id = $1",
                  Name(kPositionsTable)),
      {std::string(destination_id)}, &rows);
  if (!failure.ok()) return failure.status;
  std::vector<warehouse::Position> positions;
  for (const auto& row : rows) {
    positions.push_back({.topic = row[0],
                         .partition = static_cast<int32_t>(ToInt(row[1])),
                         .next_offset = ToInt(row[2]),
                         .note = FromHex(row[3])});
  }
  return positions;
}

Failure PostgresSession::CheckPositions(const Load& load, std::string* moved) {
  Rows rows;
  Failure failure = connection_->Query(
      fmt::format("SELECT topic, partition, next_offset FROM {} WHERE destination_id = $1",
                  Name(kPositionsTable)),
      {std::string(load.destination_id)}, &rows);
  if (!failure.ok()) return failure;
  std::map<std::pair<std::string, int64_t>, int64_t> there;
  for (const auto& row : rows) there[{row[0], ToInt(row[1])}] = ToInt(row[2]);
  for (const warehouse::PositionChange& change : load.positions) {
    const auto found = there.find({change.to.topic, change.to.partition});
    const int64_t now = found == there.end() ? -1 : found->second;
    if (now == change.from) continue;
    *moved = fmt::format("{} partition {} is at offset {} in the warehouse, not at {}",
                         change.to.topic, change.to.partition, now, change.from);
  }
  return {};
}

/// Copies rows [begin, end); `careful`: halves what the server refuses until the row is found.
Failure PostgresSession::Copy(const std::string& sql, const TableRows& table, size_t begin,
                              size_t end, bool careful) {
  std::string lines;
  table.Lines(begin, end, &lines);
  if (!careful) return connection_->CopyIn(sql, lines);
  if (Failure failure = connection_->Run("SAVEPOINT rows"); !failure.ok()) return failure;
  Failure failure = connection_->CopyIn(sql, lines);
  if (failure.ok()) return connection_->Run("RELEASE SAVEPOINT rows");
  if (failure.fault != Fault::kData) return failure;
  if (Failure undone = connection_->Run("ROLLBACK TO SAVEPOINT rows"); !undone.ok()) return undone;
  if (end - begin == 1) {
    lines.pop_back();
    refused_.push_back({table.name(), std::string(table.Id(begin)), std::move(lines),
                        std::string(Message(failure.status))});
    return {};
  }
  const size_t middle = begin + (end - begin) / 2;
  if (Failure first = Copy(sql, table, begin, middle, true); !first.ok()) return first;
  return Copy(sql, table, middle, end, true);
}

Failure PostgresSession::Replace(const TableRows& table, const Load& load) {
  if (table.exists() && table.mode() == MergeMode::kReplace) {
    Failure failure = connection_->Query(
        fmt::format("DELETE FROM {} WHERE id = ANY ($1::text[])", Name(table.name())),
        {ArrayLiteral(table.Ids())}, nullptr);
    if (!failure.ok()) return failure;
  }
  return Copy(fmt::format("COPY {} ({}) FROM STDIN", Name(table.name()), ColumnList(table, "")),
              table, 0, table.size(), load.careful);
}

Failure PostgresSession::MergeUsers(const TableRows& table, const Load& load) {
  const std::string columns = ColumnList(table, "");
  Failure failure = connection_->Run(
      fmt::format("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA",
                  kUsersStage, columns, Name(table.name())));
  if (!failure.ok()) return failure;
  failure = Copy(fmt::format("COPY pg_temp.{} ({}) FROM STDIN", kUsersStage, columns), table, 0,
                 table.size(), load.careful);
  if (!failure.ok()) return failure;

  bool dated = false;
  for (const ColumnDef& column : table.columns()) dated = dated || column.name == "received_at";
  std::string sets;
  for (const ColumnDef& column : table.columns()) {
    if (column.name == "id") continue;
    const std::string name = dialect_.Quote(column.name);
    if (!sets.empty()) sets += ", ";
    if (column.name == "received_at") {
      sets += fmt::format("{0} = GREATEST(s.{0}, u.{0})", name);
    } else if (dated && column.type != warehouse::DataType::kUnsupported) {
      sets += fmt::format(
          "{0} = CASE WHEN u.received_at > s.received_at THEN COALESCE(u.{0}, s.{0}) "
          "ELSE COALESCE(s.{0}, u.{0}) END",
          name);
    } else {
      sets += fmt::format("{0} = COALESCE(s.{0}, u.{0})", name);
    }
  }
  const std::string users = Name(table.name());
  failure = connection_->Run(fmt::format("UPDATE {} u SET {} FROM pg_temp.{} s WHERE u.id = s.id",
                                         users, sets, kUsersStage));
  if (!failure.ok()) return failure;
  return connection_->Run(
      fmt::format("INSERT INTO {0} ({1}) SELECT {1} FROM pg_temp.{2} s "
                  "WHERE NOT EXISTS (SELECT 1 FROM {0} u WHERE u.id = s.id)",
                  users, columns, kUsersStage));
}

Failure PostgresSession::WriteTable(const TableRows& table, const Load& load) {
  if (table.size() == 0) return {};
  return table.mode() == MergeMode::kLatest ? MergeUsers(table, load) : Replace(table, load);
}

Failure PostgresSession::WriteRefused() {
  if (refused_.empty()) return {};
  const std::string table = Name("rudder_discards");
  Failure failure = connection_->Run(
      fmt::format("CREATE TABLE IF NOT EXISTS {} (table_name text, row_id text, column_name text, "
                  "column_value text, reason text, uuid_ts timestamptz, received_at timestamptz)",
                  table));
  for (const Refused& row : refused_) {
    if (!failure.ok()) return failure;
    failure = connection_->Query(
        fmt::format(
            "INSERT INTO {} (table_name, row_id, column_name, column_value, reason, uuid_ts)"
            " VALUES ($1, $2, '', $3, $4, now())",
            table),
        {row.table, row.row_id, row.line, row.reason}, nullptr);
  }
  return failure;
}

Failure PostgresSession::WritePositions(const Load& load) {
  for (const warehouse::PositionChange& change : load.positions) {
    Failure failure = connection_->Query(
        fmt::format(
            "INSERT INTO {0} AS l (destination_id, topic, partition, next_offset, note, events, "
            "loads, loaded_at) VALUES ($1, $2, $3, $4, $5, $6, 1, now()) "
            "ON CONFLICT (destination_id, topic, partition) DO UPDATE SET "
            "next_offset = excluded.next_offset, note = excluded.note, "
            "events = l.events + excluded.events, loads = l.loads + 1, loaded_at = now()",
            Name(kPositionsTable)),
        {std::string(load.destination_id), change.to.topic, std::to_string(change.to.partition),
         std::to_string(change.to.next_offset), Hex(change.to.note), std::to_string(change.events)},
        nullptr);
    if (!failure.ok()) return failure;
  }
  return {};
}

Failure PostgresSession::WriteAll(const Load& load, std::string* moved) {
  Failure failure = connection_->Query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
                                       {"millrace " + name_space_}, nullptr);
  if (failure.ok()) failure = CheckPositions(load, moved);
  if (!failure.ok() || !moved->empty()) return failure;
  for (const warehouse::SchemaChange& change : load.changes) {
    for (const std::string& statement : dialect_.Ddl(name_space_, change)) {
      if (failure = connection_->Run(statement); !failure.ok()) return failure;
    }
  }
  for (const TableRows* table : load.tables) {
    if (failure = WriteTable(*table, load); !failure.ok()) {
      failure.status = Annotate(failure.status, "table " + table->name());
      return failure;
    }
  }
  if (failure = WriteRefused(); !failure.ok()) return failure;
  return WritePositions(load);
}

StatusOr<LoadResult> PostgresSession::Write(const Load& load) {
  refused_.clear();
  if (Failure failure = connection_->Run("BEGIN"); !failure.ok()) return failure.status;
  std::string moved;
  Failure failure = WriteAll(load, &moved);
  if (failure.ok() && moved.empty()) {
    Status ready = load.before_commit ? load.before_commit() : OkStatus();
    if (!ready.ok()) {
      (void)connection_->Run("ROLLBACK");
      return ready;
    }
    if (failure = connection_->Run("COMMIT"); !failure.ok()) return failure.status;
    LoadResult result{.refused_rows = refused_.size()};
    if (!refused_.empty()) result.reason = refused_.back().reason;
    return result;
  }
  if (failure.fault != Fault::kRetry) (void)connection_->Run("ROLLBACK");
  if (failure.ok()) return LoadResult{.outcome = LoadOutcome::kPositionMoved, .reason = moved};
  if (failure.fault == Fault::kSchema || failure.fault == Fault::kData) {
    return LoadResult{.outcome = LoadOutcome::kSchemaChanged,
                      .reason = std::string(Message(failure.status))};
  }
  return failure.status;
}

}  // namespace millrace::warehouses::postgres
