#include "services/processor/state_stage.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace millrace::processor {
namespace {

constexpr size_t kMaxKeyBytes = 512;
constexpr size_t kMaxValueBytes = 64 << 10;
constexpr int64_t kCountAgainAfterUs = 10'000'000;

/// A JSON number, whole.
bool ReadNumber(std::string_view json, double* number) {
  const auto [end, error] = std::from_chars(json.data(), json.data() + json.size(), *number);
  return error == std::errc() && end == json.data() + json.size();
}

}  // namespace

/// The state of one workspace in one partition: over what the store has lie the changes of the
/// batch, and over these those of the call under way.
class StateStage::BatchScope final : public transformation::StateScope {
 public:
  BatchScope(const StateStore& store, std::string workspace_id, const Options& options,
             Clock& clock)
      : store_(store), workspace_id_(std::move(workspace_id)), options_(options), clock_(clock) {}

  void Begin() override {
    call_.clear();
    call_bytes_ = 0;
  }
  void End(bool keep) override {
    if (keep) {
      for (auto& [key, change] : call_) {
        // Another call may have written the same meanwhile: only one runs at a time.
        batch_[key] = std::move(change);
      }
      batch_bytes_ += call_bytes_;
    }
    call_.clear();
    call_bytes_ = 0;
  }

  StatusOr<std::optional<std::string>> Get(std::string_view key) override {
    MR_ASSIGN_OR_RETURN(StateChange found, Find(StateKey(workspace_id_, key)));
    if (found.ends_us <= clock_.NowMicros()) found.json.reset();
    return std::move(found.json);
  }

  Status Set(std::string_view key, std::string_view json,
             std::chrono::seconds time_to_live) override {
    if (key.size() > kMaxKeyBytes) {
      return Error(StatusCode::kInvalidArgument, "store: the key has {} bytes; at most {}",
                   key.size(), kMaxKeyBytes);
    }
    if (json.size() > kMaxValueBytes) {
      return Error(StatusCode::kInvalidArgument,
                   "store: the value of '{}' has {} bytes as JSON; at most {}", key, json.size(),
                   kMaxValueBytes);
    }
    int64_t seconds = time_to_live.count();
    if (seconds <= 0 || seconds > options_.longest_s) seconds = options_.longest_s;
    return Put(key,
               {.json = std::string(json), .ends_us = clock_.NowMicros() + seconds * 1'000'000});
  }

  Status Delete(std::string_view key) override { return Put(key, {}); }

  StatusOr<double> Increment(std::string_view key, double by,
                             std::chrono::seconds time_to_live) override {
    MR_ASSIGN_OR_RETURN(const auto before, Get(key));
    double sum = 0;
    if (before.has_value() && !ReadNumber(*before, &sum)) {
      return Error(StatusCode::kInvalidArgument, "store: the value of '{}' is no number", key);
    }
    sum += by;
    if (!std::isfinite(sum)) {
      return Error(StatusCode::kInvalidArgument, "store: the sum of '{}' is no finite number", key);
    }
    MR_RETURN_IF_ERROR(Set(key, fmt::format("{}", sum), time_to_live));
    return sum;
  }

  const StateChanges& changes() const { return batch_; }
  const Status& fault() const { return fault_; }
  /// From now on the store is read as it is at this moment.
  void Freeze() { moment_ = store_.Now(); }
  void BeginBatch() {
    batch_.clear();
    call_.clear();
    batch_bytes_ = call_bytes_ = 0;
    fault_ = OkStatus();
  }
  void Committed() {
    committed_bytes_ += batch_bytes_;
    BeginBatch();
  }

 private:
  StatusOr<StateChange> Find(const std::string& full_key) {
    if (const auto found = call_.find(full_key); found != call_.end()) return found->second;
    if (const auto found = batch_.find(full_key); found != batch_.end()) return found->second;
    auto stored = store_.Get(full_key, moment_);
    if (!stored.ok()) fault_ = stored.status();
    return stored;
  }

  Status Put(std::string_view key, StateChange change) {
    std::string full_key = StateKey(workspace_id_, key);
    const auto size = [&](const StateChange& of) {
      return of.json.has_value() ? static_cast<int64_t>(key.size() + of.json->size()) : 0;
    };
    MR_ASSIGN_OR_RETURN(const StateChange before, Find(full_key));
    const int64_t grown = size(change) - size(before);
    if (grown > 0) MR_RETURN_IF_ERROR(CheckQuota(grown));
    call_bytes_ += grown;
    call_[std::move(full_key)] = std::move(change);
    return OkStatus();
  }

  /// The sum counts what has expired until it is made anew from the store.
  Status CheckQuota(int64_t grown) {
    const int64_t now_us = clock_.NowMicros();
    const auto over = [&] {
      return committed_bytes_ + batch_bytes_ + call_bytes_ + grown > options_.quota_bytes;
    };
    if (counted_at_us_ == 0 || (over() && now_us - counted_at_us_ > kCountAgainAfterUs)) {
      MR_ASSIGN_OR_RETURN(committed_bytes_, store_.Count(workspace_id_, now_us));
      counted_at_us_ = now_us;
    }
    if (!over()) return OkStatus();
    return Error(StatusCode::kResourceExhausted,
                 "store: the workspace has used up its quota of {} bytes in this partition",
                 options_.quota_bytes);
  }

  const StateStore& store_;
  const std::string workspace_id_;
  const Options& options_;
  Clock& clock_;
  StateStore::Moment moment_;
  Status fault_;
  StateChanges batch_;
  StateChanges call_;
  int64_t committed_bytes_ = 0;
  int64_t batch_bytes_ = 0;
  int64_t call_bytes_ = 0;
  int64_t counted_at_us_ = 0;  // 0: never
};

StateStage::StateStage(Options options, event_log::EventLog& log, Clock& clock)
    : options_(std::move(options)),
      clock_(clock),
      stores_(
          {.name = "state",
           .topic = event_log::kStateTopic,
           .folder = options_.folder,
           .beside_log = options_.beside_log,
           .changes_per_checkpoint = options_.changes_per_checkpoint,
           .trim_interval = options_.trim_interval,
           .open = [this](const std::string& folder) -> StatusOr<std::unique_ptr<ChangelogStore>> {
             return StateStore::Open({.folder = folder,
                                      .longest_s = options_.longest_s,
                                      .memory = options_.memory,
                                      .write_ahead = options_.beside_log});
           }},
          log, clock) {}

StateStage::~StateStage() = default;

void StateStage::BeginBatch() {
  for (auto& [key, scope] : scopes_) scope->BeginBatch();
}

StatusOr<StateStore*> StateStage::OpenStore(int32_t partition) {
  if (stores_.Find(partition) == nullptr) MR_RETURN_IF_ERROR(stores_.Open(partition));
  return static_cast<StateStore*>(stores_.Find(partition));
}

StatusOr<transformation::StateScope*> StateStage::Scope(const std::string& workspace_id,
                                                        int32_t partition) {
  auto& scope = scopes_[{partition, workspace_id}];
  if (scope == nullptr) {
    MR_ASSIGN_OR_RETURN(const StateStore* const store, OpenStore(partition));
    scope = std::make_unique<BatchScope>(*store, workspace_id, options_, clock_);
  }
  return scope.get();
}

StatusOr<std::unique_ptr<transformation::StateScope>> StateStage::ShadowScope(
    const std::string& workspace_id, int32_t partition) {
  MR_ASSIGN_OR_RETURN(const StateStore* const store, OpenStore(partition));
  auto scope = std::make_unique<BatchScope>(*store, workspace_id, options_, clock_);
  scope->Freeze();
  return scope;
}

Status StateStage::Fault() {
  for (const auto& [key, scope] : scopes_) {
    const Status fault = scope->fault();
    if (fault.ok()) continue;
    const int32_t partition = key.first;
    if (fault.code() != StatusCode::kDataLoss) return fault;
    std::erase_if(scopes_, [partition](const auto& one) { return one.first.first == partition; });
    MR_RETURN_IF_ERROR(stores_.Remove(partition));
    return fault;
  }
  return OkStatus();
}

void StateStage::Close(int32_t partition) {
  std::erase_if(scopes_, [partition](const auto& scope) { return scope.first.first == partition; });
  stores_.Close(partition);
}

void StateStage::CloseAll() {
  scopes_.clear();
  stores_.CloseAll();
}

StatusOr<std::vector<std::pair<int32_t, std::string>>> StateStage::Changelog() {
  std::vector<std::pair<int32_t, std::string>> records;
  for (const auto& [key, scope] : scopes_) {
    if (scope->changes().empty()) continue;
    for (std::string& packed : PackStateChanges(scope->changes())) {
      records.emplace_back(key.first, std::move(packed));
    }
    MR_RETURN_IF_ERROR(stores_.BeginChanges(key.first));
  }
  return records;
}

Status StateStage::Committed() {
  for (const auto& [key, scope] : scopes_) {
    if (scope->changes().empty()) continue;
    auto* const store = static_cast<StateStore*>(stores_.Find(key.first));
    MR_RETURN_IF_ERROR(
        store->Apply(scope->changes(), clock_.NowMicros(), stores_.Checkpoint(key.first)));
    MR_RETURN_IF_ERROR(stores_.EndChanges(key.first, scope->changes().size()));
    scope->Committed();
  }
  return OkStatus();
}

}  // namespace millrace::processor
