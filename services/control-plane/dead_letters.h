#pragma once

#include <nlohmann/json_fwd.hpp>

#include <chrono>
#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "libs/event_log/event_log.h"
#include "millrace/config/v1/workspace.pb.h"
#include "services/control-plane/log_reader.h"
#include "services/control-plane/store.h"

namespace millrace::control_plane {

struct RedriveResult {
  int64_t redriven = 0;
  int64_t skipped = 0;         // cannot be sent again, or is not there
  std::string skipped_reason;  // of the last one
  bool more = false;           // the limit of one call was reached
};

/// Shows the dead letters and sends them again. One thread.
class DeadLetters {
 public:
  /// A call of Redrive without ids ends once it has sent so many, or taken so long.
  static constexpr int64_t kMaxRedriven = 100'000;
  static constexpr std::chrono::seconds kMaxTime{10};

  DeadLetters(event_log::EventLog& log, Clock& clock, Store& store, LogReader& reader)
      : log_(log), clock_(clock), store_(store), reader_(reader) {}

  /// Newest first. With `ids` whole, with event and last exchange; else summaries.
  StatusOr<nlohmann::json> List(const std::string& destination_id,
                                const std::vector<std::string>& ids, int64_t limit);

  /// Puts letters back where they failed, oldest first, in transactions that also hold their counts
  /// and the marks that take them out of the dead letters; so a crash neither loses nor repeats
  /// one. Empty `ids`: all (of the destination).
  ///
  /// kUnavailable: the log is away, or the letters could not be read up to now; some may be
  /// redriven.
  StatusOr<RedriveResult> Redrive(const config::v1::Workspace& workspace,
                                  const std::string& destination_id,
                                  const std::vector<std::string>& ids);

 private:
  Status RedriveAll(const config::v1::Workspace& workspace, const std::string& destination_id,
                    RedriveResult* result);
  Status RedriveThese(const config::v1::Workspace& workspace, const std::string& destination_id,
                      const std::vector<std::string>& ids, RedriveResult* result);
  Status Send(const std::vector<delivery::v1::DeadLetter>& letters);

  event_log::EventLog& log_;
  Clock& clock_;
  Store& store_;
  LogReader& reader_;
};

}  // namespace millrace::control_plane
