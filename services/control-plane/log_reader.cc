#include "services/control-plane/log_reader.h"

#include <pthread.h>

#include <algorithm>
#include <condition_variable>
#include <utility>

#include "libs/base/log.h"

namespace millrace::control_plane {
namespace {

const std::string kTopics[] = {std::string(event_log::kCountersTopic),
                               std::string(event_log::kDeadLetterTopic),
                               std::string(event_log::kReportTopic)};

}  // namespace

void LogReader::Start() {
  thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
}

void LogReader::Stop() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

void LogReader::Run(const std::stop_token& stop) {
  pthread_setname_np(pthread_self(), "log-reader");
  while (!stop.stop_requested()) {
    const Status status = Read(stop);
    if (status.ok()) continue;
    log::Warning("reading counters, dead letters and reports: {}; trying again", Message(status));
    std::mutex mu;
    std::condition_variable_any wake;
    std::unique_lock lock(mu);
    wake.wait_for(lock, stop, std::chrono::seconds(1), [] { return false; });
  }
}

/// Positions of another log mean nothing in this one. A store that an older version wrote does not
/// say of which log its positions are: where this one ends before them, of another.
Status LogReader::UseLog() {
  MR_ASSIGN_OR_RETURN(const std::string id, log_.Id());
  bool beyond = false;
  for (const std::string& topic : kTopics) {
    MR_ASSIGN_OR_RETURN(const auto infos, log_.Describe(topic));
    for (const auto& info : infos) {
      MR_ASSIGN_OR_RETURN(const int64_t next, store_.Position(topic, info.partition));
      beyond = beyond || next > info.end_offset;
    }
  }
  MR_ASSIGN_OR_RETURN(const bool another, store_.UseLog(id, beyond));
  if (another) {
    log::Warning(
        "the event log is another one than before: what waited in the old one is gone, and counts "
        "begin anew; dead letters are kept");
  }
  return OkStatus();
}

/// A store that is made anew, or was restored, lacks counts that were trimmed: a snapshot has them.
Status LogReader::RestoreCounters() {
  MR_ASSIGN_OR_RETURN(const auto infos, log_.Describe(kTopics[0]));
  bool behind = false;
  for (const auto& info : infos) {
    MR_ASSIGN_OR_RETURN(const int64_t next, store_.Position(kTopics[0], info.partition));
    behind = behind || next < info.begin_offset;
  }
  if (!behind) return OkStatus();
  MR_ASSIGN_OR_RETURN(const auto snapshot, keeper_.FindSnapshot());
  if (!snapshot) {
    log::Error("the counts before the oldest record of topic {} are lost; the audit shows it",
               kTopics[0]);
    return OkStatus();
  }
  log::Info("counts are taken from the last snapshot in the log");
  return store_.ReplaceCounters(*snapshot, kTopics[0]);
}

StatusOr<std::vector<event_log::CommittedOffset>> LogReader::Positions() {
  std::vector<event_log::CommittedOffset> positions;
  for (const std::string& topic : kTopics) {
    MR_ASSIGN_OR_RETURN(const auto infos, log_.Describe(topic));
    for (const auto& info : infos) {
      MR_ASSIGN_OR_RETURN(int64_t next, store_.Position(topic, info.partition));
      if (next > info.end_offset) {
        log::Error(
            "topic {}, partition {}: the store has read up to {}, but the log ends at {}: it has "
            "lost records. What it gets from now on is read",
            topic, info.partition, next, info.end_offset);
        next = info.end_offset;
      }
      positions.push_back(
          {.partition = {topic, info.partition}, .offset = std::max(next, info.begin_offset)});
    }
  }
  return positions;
}

Status LogReader::Read(const std::stop_token& stop) {
  MR_RETURN_IF_ERROR(UseLog());
  MR_RETURN_IF_ERROR(RestoreCounters());
  MR_ASSIGN_OR_RETURN(const auto positions, Positions());
  {
    MutexLock lock(mu_);
    for (const auto& position : positions) positions_[position.partition] = position.offset;
    moved_.notify_all();
  }
  MR_ASSIGN_OR_RETURN(const auto consumer, log_.NewConsumer({}));
  MR_RETURN_IF_ERROR(consumer->Assign(positions));
  std::stop_callback wake(stop, [&] { consumer->Wake(); });
  while (!stop.stop_requested()) {
    MR_ASSIGN_OR_RETURN(const auto batch,
                        consumer->Poll({.timeout = std::chrono::milliseconds(1000)}));
    MR_RETURN_IF_ERROR(Take(batch));
    MR_RETURN_IF_ERROR(keeper_.Tidy());
  }
  return OkStatus();
}

Status LogReader::Take(const event_log::RecordBatch& batch) {
  std::map<event_log::TopicPartition, std::vector<const event_log::ConsumedRecord*>> by_partition;
  for (const auto& record : batch.records) by_partition[batch.source_of(record)].push_back(&record);
  for (const auto& [partition, records] : by_partition) {
    std::vector<accounting::v1::Counters> counters;
    std::vector<delivery::v1::DeadLetter> letters;
    std::vector<transformation::v1::TransformationReport> reports;
    const bool of_counters = partition.topic == kTopics[0];
    const bool of_letters = partition.topic == kTopics[1];
    size_t bytes = 0;
    for (const auto* record : records) {
      bytes += record->value.size();
      const auto size = static_cast<int>(record->value.size());
      const bool readable =
          of_counters  ? counters.emplace_back().ParseFromArray(record->value.data(), size)
          : of_letters ? letters.emplace_back().ParseFromArray(record->value.data(), size)
                       : reports.emplace_back().ParseFromArray(record->value.data(), size);
      if (!readable) log::Error("{} offset {} cannot be read", partition.topic, record->offset);
    }
    std::erase_if(counters, [](const auto& record) { return record.has_snapshot(); });
    const int64_t next = records.back()->offset + 1;
    MR_RETURN_IF_ERROR(
        of_counters  ? store_.AddCounters(counters, partition.topic, partition.partition, next)
        : of_letters ? store_.AddDeadLetters(letters, partition.topic, partition.partition, next)
                     : store_.AddReports(reports, partition.topic, partition.partition, next));
    keeper_.Taken(partition, next, counters.size(), bytes);
    MutexLock lock(mu_);
    positions_[partition] = next;
    moved_.notify_all();
  }
  return OkStatus();
}

bool LogReader::CatchUp(std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (const std::string& topic : kTopics) {
    const auto infos = log_.Describe(topic);
    if (!infos.ok()) return false;
    for (const auto& info : *infos) {
      MutexLock lock(mu_);
      const auto reached = [&] {
        const auto found = positions_.find({topic, info.partition});
        return found != positions_.end() && found->second >= info.end_offset;
      };
      while (!reached()) {
        if (moved_.wait_until(lock.native(), deadline) == std::cv_status::timeout) return reached();
      }
    }
  }
  return true;
}

}  // namespace millrace::control_plane
