#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/string_map.h"
#include "millrace/transformation/v1/report.pb.h"
#include "services/processor/shadow.h"
#include "services/processor/transform_stage.h"

namespace millrace::processor {

/// What a worker tells of the transformations it ran: counts, a few lines of log(), comparisons of
/// shadows. Owned by the worker; one thread.
class TransformReports final : public TransformObserver {
 public:
  struct Options {
    uint32_t log_lines_per_second = 10;  // of one version
  };
  TransformReports(Options options, Clock& clock, StateStage& state)
      : options_(options), clock_(clock), shadows_(state) {}

  /// What an earlier batch told that was not committed is forgotten.
  void BeginBatch(const std::string& workspace_id);
  void Begin(const std::vector<TransformJob>& jobs,
             const std::vector<const ChainStep*>& steps) override;
  void End(const std::vector<TransformJob>& jobs,
           const std::vector<const ChainStep*>& steps) override;
  /// The batch's record for the report topic; empty when there is nothing to tell.
  std::string Record();
  void Committed() { shadows_.Keep(); }

  /// Whether a shadow has ended, of which no batch may come to tell.
  bool Overdue() const { return shadows_.Finished(); }
  void WaitForShadows() { shadows_.WaitForAll(); }

 private:
  void AddLogs(const TransformJob& job, transformation::v1::VersionReport* report);

  struct LogPace {
    int64_t second = 0;
    uint32_t lines = 0;
  };
  const Options options_;
  Clock& clock_;
  Shadows shadows_;
  std::string workspace_id_;
  std::map<std::pair<std::string, std::string>, transformation::v1::VersionReport> reports_;
  StringMap<LogPace> paces_;  // by version
  size_t log_bytes_ = 0;      // of the batch
};

}  // namespace millrace::processor
