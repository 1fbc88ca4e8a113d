#include "services/processor/dedup_stage.h"

#include <algorithm>
#include <string>

#include "libs/base/log.h"

namespace millrace::processor {
namespace {

constexpr std::chrono::seconds kTellInterval{1};
constexpr int64_t kNarrowestKept = 3'600'000'000;  // us; a window may be widened later

struct KeyHash {
  size_t operator()(const DedupKey& key) const { return key[0]; }  // of SHA-256 already
};

}  // namespace

DedupStage::DedupStage(Options options, event_log::EventLog& log, Clock& clock,
                       telemetry::Metrics* metrics)
    : options_(std::move(options)),
      stores_({.name = "dedup",
               .topic = event_log::kDedupTopic,
               .folder = options_.folder,
               .beside_log = options_.beside_log,
               .changes_per_checkpoint = options_.entries_per_checkpoint,
               .trim_interval = options_.trim_interval,
               .open = [this](const std::string& folder) { return OpenStore(folder); }},
              log, clock),
      clock_(clock),
      metrics_(metrics) {}

StatusOr<std::unique_ptr<ChangelogStore>> DedupStage::OpenStore(const std::string& folder) {
  return DedupStore::Open(
      {.folder = folder,
       .window_us = std::max({widest_window_us_, options_.default_window_us, kNarrowestKept}),
       .max_bytes = options_.max_partition_bytes,
       .memory = options_.memory,
       .write_ahead = options_.beside_log});
}

DedupStore& DedupStage::StoreOf(int32_t partition) {
  return static_cast<DedupStore&>(*stores_.Find(partition));
}

int64_t DedupStage::WindowOf(std::string_view source_id) const {
  const auto found = windows_us_.find(source_id);
  return found == windows_us_.end() ? options_.default_window_us : found->second;
}

void DedupStage::SetWorkspace(const config::v1::Workspace& workspace) {
  windows_us_.clear();
  widest_window_us_ = std::max(kNarrowestKept, options_.default_window_us);
  for (const auto& source : workspace.sources()) {
    if (source.dedup_window_s() == 0) continue;
    const int64_t window = source.dedup_window_s() * 1'000'000;
    windows_us_[source.id()] = window;
    widest_window_us_ = std::max(widest_window_us_, window);
  }
  for (auto& [number, fresh] : fresh_) StoreOf(number).WidenWindow(widest_window_us_);
}

Status DedupStage::Open(int32_t partition) {
  Close(partition);
  MR_RETURN_IF_ERROR(stores_.Open(partition));
  fresh_[partition];
  return OkStatus();
}

void DedupStage::Close(int32_t partition) {
  fresh_.erase(partition);
  stores_.Close(partition);
}

void DedupStage::CloseAll() {
  fresh_.clear();
  stores_.CloseAll();
}

Status DedupStage::Run(EventBatch& batch) {
  std::map<int32_t, std::vector<Event*>> by_partition;
  for (auto& [number, fresh] : fresh_) fresh.clear();
  for (Event& event : batch.events) {
    // What comes back out of the dead letters was let through before it failed.
    if (event.live() && !event.meta.has_redrive() && WindowOf(event.meta.source_id()) > 0) {
      by_partition[event.partition].push_back(&event);
    }
  }
  for (auto& [number, events] : by_partition) {
    const auto found = fresh_.find(number);
    if (found == fresh_.end()) {
      return Error(StatusCode::kInternal, "no dedup store for partition {}", number);
    }
    const Status status = Judge(events, StoreOf(number), found->second);
    if (status.code() == StatusCode::kDataLoss) {
      fresh_.erase(found);
      MR_RETURN_IF_ERROR(stores_.Remove(number));
    }
    MR_RETURN_IF_ERROR(status);
  }
  return OkStatus();
}

Status DedupStage::Judge(std::vector<Event*>& events, DedupStore& store,
                         std::vector<DedupEntry>& fresh) {
  std::vector<DedupKey> keys;
  keys.reserve(events.size());
  for (const Event* event : events) {
    keys.push_back(MakeDedupKey(event->meta.workspace_id(), event->meta.source_id(),
                                event->meta.message_id()));
  }
  MR_ASSIGN_OR_RETURN(const auto known, store.Find(keys));
  absl::flat_hash_map<DedupKey, int64_t, KeyHash> in_batch;  // key -> when seen
  for (size_t i = 0; i < events.size(); ++i) {
    Event& event = *events[i];
    const int64_t window = WindowOf(event.meta.source_id());
    const int64_t now = event.meta.received_at_us();
    bool seen = known[i].offset >= 0 && known[i].offset != event.offset &&
                now - known[i].seen_at_us <= window;
    if (const auto earlier = in_batch.find(keys[i]); earlier != in_batch.end()) {
      seen = seen || now - earlier->second <= window;
    }
    if (seen) {
      event.state = EventState::kDuplicate;
      event.reason = "duplicate";
      continue;
    }
    in_batch[keys[i]] = now;
    fresh.push_back({.key = keys[i], .offset = event.offset, .seen_at_us = now});
  }
  return OkStatus();
}

void DedupStage::TellWindow(int32_t partition, const DedupStore& store) {
  Told& told = told_[partition];
  const MonotonicTime now = clock_.Monotonic();
  if (told.at != MonotonicTime() && now - told.at < kTellInterval) return;
  told.at = now;
  const int64_t covered_us = store.CoveredUs();
  const bool shortened = covered_us < std::max(widest_window_us_, options_.default_window_us);
  if (shortened != told.shortened) {
    told.shortened = shortened;
    if (shortened) {
      log::Warning(
          "dedup: the ids of partition {} have their {} bytes: of a window of {} s it knows {} s; "
          "see processor.dedup_max_bytes",
          partition, options_.max_partition_bytes, widest_window_us_ / 1'000'000,
          covered_us / 1'000'000);
    } else {
      log::Info("dedup: partition {} knows its whole window again", partition);
    }
  }
  if (metrics_ == nullptr) return;
  if (told.window == nullptr) {
    const telemetry::Labels labels{{"partition", std::to_string(partition)}};
    told.window = &metrics_->GetGauge("millrace_processor_dedup_window_seconds",
                                      "How far back message ids are known.", labels);
    told.bytes = &metrics_->GetGauge("millrace_processor_dedup_store_bytes",
                                     "Bytes of the message ids that are known.", labels);
  }
  told.window->Set(static_cast<double>(covered_us) / 1e6);
  told.bytes->Set(static_cast<double>(store.Bytes()));
}

StatusOr<std::map<int32_t, std::string>> DedupStage::Changelog() {
  std::map<int32_t, std::string> packed;
  for (const auto& [number, fresh] : fresh_) {
    if (fresh.empty()) continue;
    packed[number] = PackDedupEntries(fresh);
    MR_RETURN_IF_ERROR(stores_.BeginChanges(number));
  }
  return packed;
}

Status DedupStage::Committed() {
  for (auto& [number, fresh] : fresh_) {
    if (fresh.empty()) continue;
    MR_RETURN_IF_ERROR(StoreOf(number).Apply(fresh, stores_.Checkpoint(number)));
    MR_RETURN_IF_ERROR(stores_.EndChanges(number, fresh.size()));
    fresh.clear();
    TellWindow(number, StoreOf(number));
  }
  return OkStatus();
}

}  // namespace millrace::processor
