#include "libs/service/lag_reporter.h"

#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "libs/base/log.h"
#include "libs/pipeline/topology.h"

namespace millrace::service {
namespace {

constexpr std::string_view kFirstGroup = pipeline::kProcessorGroup;  // which reads `ingest`

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

/// Of one of a destination's topics: one group reads it, the router or the warehouse loader. While
/// neither has, all of it is pending; who reports for one of them only leaves such a topic out
/// (-1).
StatusOr<int64_t> LagReporter::ReportTopic(const std::string& topic) {
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
  return pending;
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
  std::map<std::string, int64_t> pending;  // by destination: its own topic and its parked users'
  std::set<std::string> there;
  for (const std::string& topic : topics) {
    auto destination = pipeline::DestinationOf(topic);
    if (!destination.has_value()) destination = pipeline::ParkedDestinationOf(topic);
    if (destination.has_value()) {
      there.insert(*destination);
      const auto events = ReportTopic(topic);
      if (events.status().code() == StatusCode::kNotFound) continue;  // deleted meanwhile
      MR_RETURN_IF_ERROR(events.status());
      if (*events >= 0) pending[*destination] += *events;
    } else if (topic == event_log::kIngestTopic &&
               std::ranges::find(options_.groups, kFirstGroup) != options_.groups.end()) {
      MR_ASSIGN_OR_RETURN(const Lag lag, ReportGroup(std::string(kFirstGroup), topic));
      metrics_.GetGauge("millrace_ingest_pending_events", "Events that the processor has not read.")
          .Set(static_cast<double>(lag.records));
    }
  }
  for (const auto& [destination, events] : pending) {
    metrics_
        .GetGauge("millrace_pending_events", "Events of a destination that are not done with.",
                  {{"destination", destination}})
        .Set(static_cast<double>(events));
  }
  for (const std::string& destination : destinations_) {
    if (!there.contains(destination)) RemoveSeries(destination);
  }
  destinations_ = std::move(there);
  return OkStatus();
}

/// Of a destination whose topics are gone: it was deleted.
void LagReporter::RemoveSeries(const std::string& destination) {
  metrics_.Remove({{"destination", destination}});
  metrics_.Remove({{"topic", event_log::DestinationTopic(destination)}});
  metrics_.Remove({{"topic", pipeline::ParkingTopic(destination)}});
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
