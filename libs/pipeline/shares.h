#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "libs/event_log/event_log.h"
#include "millrace/config/v1/workspace.pb.h"

namespace millrace::pipeline {

struct ShareOptions {
  /// Share of a destination that sets none. 0 = a quarter of the log's quota; 10 GiB where the log
  /// has none of its own (Kafka).
  uint64_t default_bytes = 0;
  /// All shares together may use this part of the quota; beyond it the largest gives up first.
  double together = 0.7;
  /// What gives up does so until it is this part of its limit, and what refuses goes on until then.
  double relief = 0.9;
};

/// What waits for one destination, against its share of the log.
struct DestinationShare {
  uint64_t bytes = 0;  // that the log cannot free because of it
  uint64_t limit_bytes = 0;
  double used_fraction = 0;
  uint64_t bytes_to_give_up = 0;  // of its oldest waiting events
  bool refuse_sources = false;    // the sources connected to it get 503
};

/// All destinations of a workspace at one moment. Immutable.
struct ShareEvaluation {
  uint64_t sequence = 0;  // of ShareWatch: grows with each look at the log
  std::map<std::string, DestinationShare, std::less<>> destinations;  // by id
  uint64_t bytes = 0;                                                 // of all of them
  uint64_t together_bytes = 0;  // that all may use; 0 = no bound

  /// Null when there is no such destination.
  const DestinationShare* Find(std::string_view destination_id) const;
};

/// What each destination of `workspace` uses of the log and what follows from it. `before`: the
/// evaluation before this one, or null; sources that are refused stay so until there is relief.
ShareEvaluation EvaluateShares(const event_log::LogUsage& usage,
                               const config::v1::Workspace& workspace, const ShareOptions& options,
                               const ShareEvaluation* before = nullptr);

}  // namespace millrace::pipeline
