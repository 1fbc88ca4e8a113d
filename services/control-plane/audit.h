#pragma once

#include <compare>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "libs/event_log/event_log.h"
#include "services/control-plane/store.h"

namespace millrace::control_plane {

/// Events of one source, or of one connection, by what became of them. Each figure is counted on
/// its own; none is worked out from the others.
struct Account {
  int64_t accepted = 0;  // of a connection: the events that fan-out offered to it
  int64_t produced = 0;  // by transformations, beside the events they were given
  int64_t duplicates = 0;
  int64_t filtered = 0;
  int64_t dropped = 0;
  int64_t dead_lettered = 0;
  int64_t passed_on = 0;  // of a source: reached fan-out
  int64_t delivered = 0;  // of a connection
  int64_t pending = 0;
  /// accepted and produced minus all the others; anything but 0 at rest is a bug.
  int64_t Residual() const {
    return accepted + produced - duplicates - filtered - dropped - dead_lettered - passed_on -
           delivered - pending;
  }
};

using ConnectionIds = std::pair<std::string, std::string>;  // (source, destination)

/// What is in the log and not done with, found by reading it.
struct PendingInLog {
  std::map<std::string, int64_t> sources;  // records of `ingest`
  std::map<ConnectionIds, int64_t> connections;
  std::map<ConnectionIds, int64_t>
      redriven;  // records of `ingest` that are for one connection alone
  /// Destinations whose topic was read; of the others (no topic any more, or too much in it) the
  /// pending events follow from the counters.
  std::set<std::string> destinations;
};

struct Audit {
  std::map<std::string, Account> sources;
  std::map<ConnectionIds, Account> connections;
  /// By destination: events that wait by the counters, minus the records that the log has for it.
  /// Of those whose records were not read one by one. Anything but 0 at rest is a loss or a bug.
  std::map<std::string, int64_t> missing;
  /// Records that a gateway acknowledged and the log did not keep. A loss, whatever the rest says.
  int64_t lost_records = 0;
  int64_t ingest_records = 0;  // by the log's own offsets
  int64_t ingest_lag = 0;      // not yet read by the processor
  /// Records of `ingest` that wait, and are in no source's row as they are too many to be read.
  int64_t ingest_unlisted = 0;
  /// What the log says was read, minus what the processor counted: anything but 0 at rest is a bug.
  int64_t unexplained = 0;
  /// The difference to show: `unexplained`, or else the sum of the rows' differences and of what is
  /// missing, without their sign.
  int64_t Residual() const;
};

/// Sums of the store's counters and of what the log still holds.
Audit MakeAudit(const std::vector<CountRow>& counts, const PendingInLog& pending);

/// Up to where a partition is done, by the log's own offsets.
struct LogPosition {
  int64_t next = 0;      // of the group that reads it
  std::string metadata;  // the group's note
  int64_t end = 0;
  auto operator<=>(const LogPosition&) const = default;
};
using LogPositions = std::map<event_log::TopicPartition, LogPosition>;

/// Positions of `ingest` and of every destination's topics, that of its parked users too.
StatusOr<LogPositions> ReadPositions(event_log::EventLog& log);

/// Sets the log's records beyond `positions` against `counts`: one by one, as long as there are no
/// more than `limit` in all, the shortest topics first; of the others by their number. The counters
/// must be those of these positions or the rows differ by what moved in between. `dense`: the log
/// gives every offset to a record; else numbers tell nothing of what was not read.
StatusOr<Audit> CompareWithLog(event_log::EventLog& log, const LogPositions& positions,
                               const std::vector<CountRow>& counts, int64_t limit, bool dense);

}  // namespace millrace::control_plane
