#include "services/control-plane/log_keeper.h"

#include <algorithm>
#include <future>
#include <optional>
#include <utility>

#include "libs/base/failpoint.h"
#include "libs/base/log.h"

namespace millrace::control_plane {
namespace {

using accounting::v1::Counters;
using accounting::v1::CountersSnapshot;

// A snapshot costs about what it frees at these figures, however many sources there are.
constexpr size_t kSnapshotAfterRecords = 20'000;
constexpr size_t kSnapshotAfterBytes = 8 << 20;
constexpr std::chrono::seconds kSnapshotAfter{300};
constexpr std::chrono::seconds kTrimEvery{5};
constexpr std::chrono::seconds kPurgeEvery{10};
constexpr size_t kPartBytes = 400'000;
constexpr int kIdlePolls = 3;  // transactions leave marks that are no records

const std::string kCounters(event_log::kCountersTopic);

std::vector<std::string> PartsOf(const CountersSnapshot& whole) {
  std::vector<CountersSnapshot> parts(1);
  *parts[0].mutable_covered() = whole.covered();
  size_t bytes = 0;
  const auto part_for = [&](size_t more) -> CountersSnapshot& {
    if (bytes > 0 && bytes + more > kPartBytes) {
      parts.emplace_back();
      bytes = 0;
    }
    bytes += more;
    return parts.back();
  };
  for (const auto& one : whole.counted()) *part_for(one.ByteSizeLong()).add_counted() = one;
  for (const auto& one : whole.counts()) *part_for(one.ByteSizeLong()).add_counts() = one;
  std::vector<std::string> values;
  for (size_t i = 0; i < parts.size(); ++i) {
    Counters record;
    record.set_stage("control-plane");
    *record.mutable_snapshot() = std::move(parts[i]);
    record.mutable_snapshot()->set_id(whole.id());
    record.mutable_snapshot()->set_part(static_cast<uint32_t>(i));
    record.mutable_snapshot()->set_parts(static_cast<uint32_t>(parts.size()));
    values.push_back(record.SerializeAsString());
  }
  return values;
}

/// Puts parts together as they come.
class Assembly {
 public:
  void Add(const CountersSnapshot& part) {
    if (part.part() == 0) {
      open_ = part;
      next_ = 1;
    } else if (part.id() == open_.id() && part.part() == next_) {
      open_.MergeFrom(part);
      ++next_;
    } else {
      return;
    }
    if (next_ == part.parts()) whole_ = open_;
  }
  std::optional<CountersSnapshot> whole() && { return std::move(whole_); }

 private:
  CountersSnapshot open_;
  uint32_t next_ = 0;
  std::optional<CountersSnapshot> whole_;
};

}  // namespace

void LogKeeper::Taken(const event_log::TopicPartition& partition, int64_t next, size_t records,
                      size_t bytes) {
  if (partition.topic != kCounters) {
    taken_[partition] = next;
    return;
  }
  if (records == 0) return;
  if (counted_records_ == 0) counted_since_ = clock_.Monotonic();
  counted_records_ += records;
  counted_bytes_ += bytes;
}

Status LogKeeper::Tidy() {
  const MonotonicTime now = clock_.Monotonic();
  if (now - purged_at_ >= kPurgeEvery || purged_at_ == MonotonicTime()) {
    MR_ASSIGN_OR_RETURN(const int64_t purged, store_.PurgeDeadLetters(limits_, clock_.NowMicros()));
    if (purged > 0) {
      log::Warning("{} dead letters are kept no longer: they were too old or too many", purged);
    } else {
      purged_at_ = now;  // else the next part at once
    }
  }
  if (now - trimmed_at_ >= kTrimEvery) {
    MR_RETURN_IF_ERROR(TrimTaken());
    trimmed_at_ = now;
  }
  const bool due = counted_records_ >= kSnapshotAfterRecords ||
                   counted_bytes_ >= kSnapshotAfterBytes ||
                   (counted_records_ > 0 && now - counted_since_ >= kSnapshotAfter);
  return due ? SnapshotCounters() : OkStatus();
}

Status LogKeeper::TrimTaken() {
  while (!taken_.empty()) {
    const auto first = taken_.begin();
    MR_RETURN_IF_ERROR(log_.Trim(first->first, first->second));
    taken_.erase(first);
  }
  return OkStatus();
}

Status LogKeeper::SnapshotCounters() {
  MR_ASSIGN_OR_RETURN(const CountersSnapshot snapshot, store_.CountersUpToNow(kCounters));
  MR_RETURN_IF_ERROR(Append(PartsOf(snapshot)));
  MR_RETURN_IF_ERROR(Failpoint("control_plane.after_snapshot"));
  // Durable: what is before it is in it.
  for (const auto& covered : snapshot.covered()) {
    MR_RETURN_IF_ERROR(log_.Trim({kCounters, covered.partition()}, covered.offset()));
  }
  counted_records_ = counted_bytes_ = 0;
  return OkStatus();
}

Status LogKeeper::Append(const std::vector<std::string>& values) {
  MR_ASSIGN_OR_RETURN(const auto appender, log_.NewAppender());
  std::vector<event_log::TopicRecord> records;
  for (const std::string& value : values) {
    records.push_back({.topic = kCounters, .record = {.value = value, .partition = 0}});
  }
  std::promise<Status> done;
  appender->Append(records, [&done](Status status) { done.set_value(std::move(status)); });
  return done.get_future().get();
}

StatusOr<std::optional<CountersSnapshot>> LogKeeper::FindSnapshot() {
  MR_ASSIGN_OR_RETURN(const auto infos, log_.Describe(kCounters));
  const event_log::CommittedOffset start{.partition = {kCounters, 0}, .offset = -1};
  MR_ASSIGN_OR_RETURN(const auto consumer, log_.NewConsumer({}));
  MR_RETURN_IF_ERROR(consumer->Assign({&start, 1}));
  Assembly assembly;
  int64_t next = infos.empty() ? 0 : infos[0].begin_offset;
  const int64_t end = infos.empty() ? 0 : infos[0].end_offset;
  for (int idle = 0; next < end && idle < kIdlePolls;) {
    MR_ASSIGN_OR_RETURN(const auto batch,
                        consumer->Poll({.timeout = std::chrono::milliseconds(500)}));
    idle = batch.records.empty() ? idle + 1 : 0;
    for (const auto& record : batch.records) {
      next = record.offset + 1;
      Counters counters;
      const auto size = static_cast<int>(record.value.size());
      if (counters.ParseFromArray(record.value.data(), size) && counters.has_snapshot()) {
        assembly.Add(counters.snapshot());
      }
    }
  }
  return std::move(assembly).whole();
}

}  // namespace millrace::control_plane
