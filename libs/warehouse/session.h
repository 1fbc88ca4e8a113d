#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"
#include "libs/destination/config.h"
#include "libs/warehouse/dialect.h"
#include "libs/warehouse/schema.h"
#include "libs/warehouse/table_rows.h"

namespace millrace::warehouse {

/// How far the warehouse has one partition of a destination's topic, kept beside the rows.
struct Position {
  std::string topic;
  int32_t partition = 0;
  int64_t next_offset = 0;
  /// What the loader wants to find again, at most some KB (its last counters).
  std::string note;
};

struct PositionChange {
  Position to;
  int64_t from = -1;  // next_offset as the loader knows it; -1: the partition is not there yet
  int64_t events = 0;
};

/// All of one commit. The pointers outlive the call.
struct Load {
  std::string_view destination_id;
  std::vector<SchemaChange> changes;
  std::vector<const TableRows*> tables;  // finished; columns as they will be after `changes`
  std::vector<PositionChange> positions;
  /// Searches for rows that the warehouse itself refuses, writes them to rudder_discards instead
  /// and goes on. Slower; without it such a row makes the outcome kSchemaChanged.
  bool careful = false;
  /// Runs when all is written, right before the commit. Not OK: the load fails with it.
  std::function<Status()> before_commit;
};

enum class LoadOutcome {
  kLoaded,
  /// Tables are not as the loader thinks: read the schema again and make the rows anew. Nothing is
  /// written.
  kSchemaChanged,
  /// Another loader has moved a position: read the positions again. Nothing is written.
  kPositionMoved,
};

struct LoadResult {
  LoadOutcome outcome = LoadOutcome::kLoaded;
  size_t refused_rows = 0;
  std::string reason;  // of an outcome that is not kLoaded, and of the last refused row
};

/// One connection to a warehouse. One thread. After an error that is retryable the session is of
/// no more use: whether a Load that failed so was committed, only the positions tell.
class Session {
 public:
  Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  virtual ~Session() = default;

  virtual StatusOr<Schema> ReadSchema() = 0;
  virtual StatusOr<std::vector<Position>> ReadPositions(std::string_view destination_id) = 0;
  /// Rows, schema changes and positions, all or nothing.
  virtual StatusOr<LoadResult> Write(const Load& load) = 0;
};

/// A kind of warehouse. Lives for the whole process; any thread.
class Warehouse {
 public:
  virtual ~Warehouse() = default;
  virtual std::string_view type() const = 0;  // e.g. POSTGRES
  virtual const Dialect& dialect() const = 0;
  /// Connects with a destination's configuration, read by the definition of this type, and makes
  /// the namespace if it is not there. Errors name host, database and the grant that is missing,
  /// never the password: kUnavailable, kFailedPrecondition (an operator must act), kInvalidArgument
  /// (the configuration is wrong).
  ///
  /// Once `cancel` is requested, from any thread, whatever this or the session waits for fails soon
  /// with a retryable error.
  virtual StatusOr<std::unique_ptr<Session>> Connect(const destination::Config& config,
                                                     std::stop_token cancel) const = 0;
};

}  // namespace millrace::warehouse
