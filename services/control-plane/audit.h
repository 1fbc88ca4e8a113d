#pragma once

#include <map>
#include <string>
#include <vector>

#include "libs/event_log/event_log.h"
#include "millrace/config/v1/workspace.pb.h"
#include "services/control-plane/store.h"

namespace millrace::control_plane {

/// Events of one source, or of one connection, by what became of them.
struct Account {
  int64_t accepted = 0;
  int64_t duplicates = 0;
  int64_t filtered = 0;
  int64_t dropped = 0;
  int64_t dead_lettered = 0;
  int64_t delivered = 0;
  int64_t pending = 0;
  /// accepted minus all the others; anything but 0 is a bug.
  int64_t Residual() const {
    return accepted - duplicates - filtered - dropped - dead_lettered - delivered - pending;
  }
};

struct Audit {
  std::map<std::string, Account> sources;  // what happened before fan-out; delivered = passed on
  std::map<std::pair<std::string, std::string>, Account> connections;  // (source, destination)
  int64_t ingest_records = 0;  // by the log's own offsets
  int64_t ingest_lag = 0;      // not yet read by the processor
  /// What the log says was read, minus what the processor counted: anything but 0 at rest is a bug.
  int64_t unexplained = 0;
};

/// Sums of the store against the log. `pending_by_source` counts the records of `ingest` not yet
/// processed.
Audit MakeAudit(const std::vector<CountRow>& counts,
                const std::map<std::string, int64_t>& pending_by_source);

/// Reads the records of `ingest` beyond the processor's committed offsets, at most `limit`, and counts
/// them by source; also sets the audit's figures of the log.
Status CompareWithLog(event_log::EventLog& log, const std::vector<CountRow>& counts, int64_t limit,
                      Audit* audit);

}  // namespace millrace::control_plane
