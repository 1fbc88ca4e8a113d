#include "services/processor/processor.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "libs/pipeline/topology.h"
#include "services/processor/planner.h"
#include "services/processor/worker.h"

namespace millrace::processor {
namespace {

constexpr int64_t kDefaultWindowSeconds = 86'400;
constexpr std::chrono::seconds kTopicsPatience{30};
constexpr std::chrono::milliseconds kTopicsStep{100};
constexpr int64_t kLongestWindowSeconds = 366LL * 86'400;
constexpr int64_t kDefaultStateSeconds = 30 * 86'400;
constexpr uint64_t kDefaultStateQuota = 64 << 20;
constexpr uint32_t kDefaultLogLines = 10;
constexpr uint64_t kDefaultTransactionBytes = 32 << 20;
constexpr uint64_t kDefaultDedupBytes = uint64_t{4} << 30;
constexpr uint32_t kMaxWorkers = 256;
constexpr uint32_t kMaxBatchEvents = 20'000;  // their changelog is one record, below 1 MB

}  // namespace

StatusOr<std::unique_ptr<Processor>> Processor::Create(
    const settings::v1::ProcessorSettings& settings, Deps deps) {
  if (settings.workers() > kMaxWorkers) {
    return Error(StatusCode::kInvalidArgument, "processor.workers is {}; at most {}",
                 settings.workers(), kMaxWorkers);
  }
  if (settings.state_dir().empty()) {
    return Error(StatusCode::kInvalidArgument, "processor.state_dir is not set");
  }
  if (settings.max_batch_events() > kMaxBatchEvents) {
    return Error(StatusCode::kInvalidArgument, "processor.max_batch_events is {}; at most {}",
                 settings.max_batch_events(), kMaxBatchEvents);
  }
  if (settings.dedup_window_s() > kLongestWindowSeconds) {
    return Error(StatusCode::kInvalidArgument, "processor.dedup_window_s is {}; at most {}",
                 settings.dedup_window_s(), kLongestWindowSeconds);
  }
  std::unique_ptr<Processor> processor(new Processor(std::move(deps)));
  const std::string instance = settings.instance().empty() ? "processor-0" : settings.instance();
  const int64_t window =
      settings.dedup_window_s() == 0 ? kDefaultWindowSeconds : settings.dedup_window_s();
  const auto& transformation = processor->deps_.transformation;
  const int64_t longest_s = transformation.state_max_ttl_s() == 0
                                ? kDefaultStateSeconds
                                : transformation.state_max_ttl_s();
  processor->topology_ = {
      .ingest_partitions = processor->deps_.ingest_partitions,
      .destination_partitions = processor->deps_.destination_partitions,
      .dedup_window = std::chrono::seconds(std::max<int64_t>(0, window)) + std::chrono::hours(1),
      .state_lifetime = std::chrono::seconds(longest_s)};
  MR_ASSIGN_OR_RETURN(const auto usage, processor->deps_.log.Usage());
  const bool beside_log = usage.quota_bytes > 0;  // a log on a cluster has none that we know
  uint64_t dedup_bytes = settings.dedup_max_bytes();
  if (dedup_bytes == 0) dedup_bytes = beside_log ? usage.quota_bytes / 4 : kDefaultDedupBytes;
  const auto memory = MakeStoreMemory();
  const auto state_memory = MakeStoreMemory();
  for (uint32_t i = 0; i < std::max(1u, settings.workers()); ++i) {
    Worker::Options options{
        .name = fmt::format("{}-{}", instance, i),
        .dedup = {.folder = settings.state_dir() + "/dedup",
                  .default_window_us = window * 1'000'000,
                  .max_partition_bytes = dedup_bytes / static_cast<uint64_t>(std::max(
                                                           1, processor->deps_.ingest_partitions)),
                  .memory = memory,
                  .beside_log = beside_log},
        .state = {.folder = settings.state_dir() + "/state",
                  .quota_bytes = static_cast<int64_t>(transformation.state_quota_bytes() == 0
                                                          ? kDefaultStateQuota
                                                          : transformation.state_quota_bytes()),
                  .longest_s = longest_s,
                  .memory = state_memory,
                  .beside_log = beside_log},
        .reports = {.log_lines_per_second = transformation.log_lines_per_second() == 0
                                                ? kDefaultLogLines
                                                : transformation.log_lines_per_second()},
        .limits = {.max_records =
                       settings.max_batch_events() == 0 ? 2000 : settings.max_batch_events(),
                   .max_bytes =
                       settings.max_batch_bytes() == 0 ? 8u << 20 : settings.max_batch_bytes(),
                   .timeout = std::chrono::milliseconds(500)},
        .max_transaction_bytes = settings.max_transaction_bytes() == 0
                                     ? kDefaultTransactionBytes
                                     : settings.max_transaction_bytes()};
    processor->workers_.push_back(
        std::make_unique<Worker>(std::move(options), processor->deps_, *processor->planner_));
  }
  return processor;
}

Processor::Processor(Deps deps)
    : deps_(std::move(deps)), planner_(std::make_unique<Planner>(deps_)) {}

Processor::~Processor() {
  Stop(std::chrono::milliseconds(0));
}

Status Processor::EnsureTopics() {
  event_log::EventLog& log = deps_.log;
  MR_RETURN_IF_ERROR(pipeline::EnsureShared(log, topology_));
  MR_ASSIGN_OR_RETURN(const auto ingest, log.Describe(std::string(event_log::kIngestTopic)));
  topology_.ingest_partitions = static_cast<int>(ingest.size());
  MR_RETURN_IF_ERROR(pipeline::EnsureChangelogs(log, topology_));
  for (const std::string_view topic : {event_log::kDedupTopic, event_log::kStateTopic}) {
    MR_ASSIGN_OR_RETURN(const auto changelog, log.Describe(std::string(topic)));
    if (changelog.size() < ingest.size()) {
      return Error(StatusCode::kFailedPrecondition,
                   "topic '{}' has {} partitions and topic '{}' {}; they must have the same number",
                   topic, changelog.size(), event_log::kIngestTopic, ingest.size());
    }
  }
  return OkStatus();
}

Status Processor::Start() {
  // Another processor may be making the same topics: for a moment they have no leader.
  const MonotonicTime deadline = deps_.clock.Monotonic() + kTopicsPatience;
  Status status = EnsureTopics();
  while (IsRetryable(status) && deps_.clock.Monotonic() < deadline) {
    std::this_thread::sleep_for(kTopicsStep);
    status = EnsureTopics();
  }
  MR_RETURN_IF_ERROR(status);
  planner_->Start();
  for (const auto& worker : workers_) worker->Start();
  return OkStatus();
}

void Processor::Stop(std::chrono::milliseconds) {
  for (const auto& worker : workers_) worker->RequestStop();
  for (const auto& worker : workers_) worker->Join();
  planner_->Stop();
}

}  // namespace millrace::processor
