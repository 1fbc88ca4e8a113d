#include "services/processor/processor.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "services/processor/worker.h"

namespace millrace::processor {
namespace {

constexpr int64_t kDefaultWindowSeconds = 86'400;
constexpr uint32_t kMaxWorkers = 256;

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
  std::unique_ptr<Processor> processor(new Processor(std::move(deps)));
  const std::string instance = settings.instance().empty() ? "processor-0" : settings.instance();
  const int64_t window =
      settings.dedup_window_s() == 0 ? kDefaultWindowSeconds : settings.dedup_window_s();
  for (uint32_t i = 0; i < std::max(1u, settings.workers()); ++i) {
    Worker::Options options{
        .name = fmt::format("{}-{}", instance, i),
        .dedup = {.folder = settings.state_dir() + "/dedup", .default_window_us = window * 1'000'000},
        .limits = {.max_records = settings.max_batch_events() == 0 ? 2000 : settings.max_batch_events(),
                   .max_bytes = settings.max_batch_bytes() == 0 ? 8u << 20 : settings.max_batch_bytes(),
                   .timeout = std::chrono::milliseconds(500)}};
    processor->workers_.push_back(std::make_unique<Worker>(std::move(options), processor->deps_));
  }
  return processor;
}

Processor::Processor(Deps deps) : deps_(std::move(deps)) {}

Processor::~Processor() { Stop(std::chrono::milliseconds(0)); }

Status Processor::Start() {
  using event_log::TopicOptions;
  const TopicOptions as_ingest{.partitions = deps_.ingest_partitions};
  const std::pair<std::string_view, TopicOptions> topics[] = {
      {event_log::kIngestTopic, as_ingest},      {event_log::kDedupTopic, as_ingest},
      {event_log::kDeadLetterTopic, {}},         {event_log::kCountersTopic, {}},
      {event_log::kDeliveryStatusTopic, {}},
  };
  for (const auto& [topic, options] : topics) {
    MR_RETURN_IF_ERROR(deps_.log.EnsureTopic(std::string(topic), options));
  }
  for (const auto& worker : workers_) worker->Start();
  return OkStatus();
}

void Processor::Stop(std::chrono::milliseconds) {
  for (const auto& worker : workers_) worker->Stop();
}

}  // namespace millrace::processor
