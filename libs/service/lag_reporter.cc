#include "libs/service/lag_reporter.h"

#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>

#include "libs/base/log.h"

namespace millrace::service {
namespace {

constexpr std::string_view kDestinationPrefix = "destination.";
constexpr std::string_view kFirstGroup = "processor";  // which reads `ingest`

}  // namespace

StatusOr<LagReporter::Lag> LagReporter::ReportGroup(const std::string& group,
                                                    const std::string& topic) {
  MR_ASSIGN_OR_RETURN(const auto committed, log_.Committed(group, topic));
  MR_ASSIGN_OR_RETURN(const auto infos, log_.Describe(topic));
  Lag lag;
  std::map<int32_t, int64_t> offsets;
  for (const auto& offset : committed) {
    lag.reads = lag.reads || offset.offset >= 0;
    offsets[offset.partition.partition] = offset.offset;
  }
  for (const auto& info : infos) {
    const auto found = offsets.find(info.partition);
    const int64_t next = std::max(found == offsets.end() ? -1 : found->second, info.begin_offset);
    const int64_t records = std::max<int64_t>(0, info.end_offset - next);
    lag.records += records;
    if (!lag.reads && group != kFirstGroup) continue;
    metrics_
        .GetGauge(
            "millrace_log_lag_records", "Records of a partition that a group has not committed.",
            {{"group", group}, {"topic", topic}, {"partition", std::to_string(info.partition)}})
        .Set(static_cast<double>(records));
  }
  return lag;
}

/// Of a destination's topic: one group reads it, the router or the warehouse loader. While neither
/// has, all of it is pending; who reports for one of them only leaves such a topic out.
Status LagReporter::ReportDestination(const std::string& topic) {
  int64_t unread = 0, pending = -1;
  size_t asked = 0;
  for (const std::string& group : options_.groups) {
    if (group == kFirstGroup) continue;
    MR_ASSIGN_OR_RETURN(const Lag lag, ReportGroup(group, topic));
    ++asked;
    unread = lag.records;
    if (lag.reads && (pending < 0 || lag.records < pending)) pending = lag.records;
  }
  if (asked > 1 && pending < 0) pending = unread;
  if (pending < 0) return OkStatus();
  metrics_
      .GetGauge("millrace_pending_events", "Events of a destination that are not done with.",
                {{"destination", topic.substr(kDestinationPrefix.size())}})
      .Set(static_cast<double>(pending));
  return OkStatus();
}

void LagReporter::Start() {
  thread_ = std::jthread([this](const std::stop_token& stop) {
    pthread_setname_np(pthread_self(), "lag");
    std::mutex mu;
    std::condition_variable_any wake;
    bool worked = true;
    while (!stop.stop_requested()) {
      const Status status = Report();
      if (!status.ok() && worked) log::Warning("metrics of the log: {}", Message(status));
      worked = status.ok();
      std::unique_lock lock(mu);
      wake.wait_for(lock, stop, options_.interval, [] { return false; });
    }
  });
}

void LagReporter::Stop() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

Status LagReporter::Report() {
  ReportDisk();
  MR_ASSIGN_OR_RETURN(const auto topics, log_.ListTopics());
  for (const std::string& topic : topics) {
    if (topic.rfind(kDestinationPrefix, 0) == 0) {
      MR_RETURN_IF_ERROR(ReportDestination(topic));
    } else if (topic == event_log::kIngestTopic &&
               std::ranges::find(options_.groups, kFirstGroup) != options_.groups.end()) {
      MR_ASSIGN_OR_RETURN(const Lag lag, ReportGroup(std::string(kFirstGroup), topic));
      metrics_.GetGauge("millrace_ingest_pending_events", "Events that the processor has not read.")
          .Set(static_cast<double>(lag.records));
    }
  }
  return OkStatus();
}

void LagReporter::ReportDisk() {
  if (options_.log_folder.empty()) return;
  std::error_code error;
  double bytes = 0;
  for (std::filesystem::directory_iterator at(options_.log_folder, error), end; !error && at != end;
       at.increment(error)) {
    std::error_code gone;  // a segment may be removed meanwhile
    const auto size = at->file_size(gone);
    if (!gone) bytes += static_cast<double>(size);
  }
  metrics_.GetGauge("millrace_log_disk_bytes", "Bytes of the local log's files.").Set(bytes);
}

}  // namespace millrace::service
