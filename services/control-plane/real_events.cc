#include "services/control-plane/real_events.h"

#include <algorithm>
#include <map>

namespace millrace::control_plane {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kFirstLook = 1'000;  // records of a partition
constexpr int64_t kWider = 8;          // times as many at each further look
constexpr int64_t kMaxRecords = 200'000;
// Polls without a record before the end is taken as reached: transactions leave marks that are no
// records.
constexpr int kIdlePolls = 3;

struct Found {
  int64_t at_us = 0;
  RealEvent event;
};

/// Reads `windows` (partition -> first offset and end), adding the source's events to `found`.
Status Read(event_log::EventLog& log, const std::map<int32_t, std::pair<int64_t, int64_t>>& windows,
            const std::string& source_id, Clock::time_point deadline, std::vector<Found>* found) {
  std::vector<event_log::CommittedOffset> starts;
  std::map<int32_t, int64_t> open;
  for (const auto& [partition, window] : windows) {
    if (window.first >= window.second) continue;
    starts.push_back(
        {.partition = {std::string(event_log::kIngestTopic), partition}, .offset = window.first});
    open[partition] = window.second;
  }
  if (starts.empty()) return OkStatus();
  MR_ASSIGN_OR_RETURN(const auto consumer, log.NewConsumer({}));
  MR_RETURN_IF_ERROR(consumer->Assign(starts));
  for (int idle = 0; !open.empty() && idle < kIdlePolls && Clock::now() < deadline;) {
    MR_ASSIGN_OR_RETURN(const auto batch, consumer->Poll({.max_records = 5'000}));
    idle = batch.records.empty() ? idle + 1 : 0;
    for (const auto& record : batch.records) {
      const int32_t partition = batch.source_of(record).partition;
      const auto end = open.find(partition);
      if (end == open.end()) continue;
      const bool last = record.offset + 1 >= end->second;
      if (record.offset < end->second) {
        Found one{.at_us = record.appended_at_us};
        const bool readable =
            one.event.meta.ParseFromArray(record.meta.data(), static_cast<int>(record.meta.size()));
        if (readable && one.event.meta.source_id() == source_id &&
            one.event.meta.rejected_reason().empty()) {
          one.event.event = std::string(record.value);
          found->push_back(std::move(one));
        }
      }
      if (last) {
        open.erase(end);
        consumer->Pause(batch.source_of(record));
      }
    }
  }
  return OkStatus();
}

}  // namespace

StatusOr<std::vector<RealEvent>> LastEvents(event_log::EventLog& log, const std::string& source_id,
                                            size_t count, Clock::time_point deadline) {
  MR_ASSIGN_OR_RETURN(const auto infos, log.Describe(std::string(event_log::kIngestTopic)));
  std::map<int32_t, std::pair<int64_t, int64_t>> windows;  // of the look before
  for (const auto& info : infos) windows[info.partition] = {info.end_offset, info.end_offset};
  std::vector<Found> found;
  int64_t looked_at = 0;
  for (int64_t look = kFirstLook; found.size() < count && looked_at < kMaxRecords; look *= kWider) {
    bool more = false;
    for (const auto& info : infos) {
      auto& window = windows[info.partition];
      window = {std::max(info.begin_offset, window.first - look), window.first};
      looked_at += window.second - window.first;
      more = more || window.first < window.second;
    }
    if (!more || Clock::now() >= deadline) break;
    MR_RETURN_IF_ERROR(Read(log, windows, source_id, deadline, &found));
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Found& a, const Found& b) { return a.at_us < b.at_us; });
  std::vector<RealEvent> events;
  for (size_t i = found.size() > count ? found.size() - count : 0; i < found.size(); ++i) {
    events.push_back(std::move(found[i].event));
  }
  return events;
}

}  // namespace millrace::control_plane
