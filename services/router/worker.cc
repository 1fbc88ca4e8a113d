#include "services/router/worker.h"

#include <algorithm>
#include <utility>

#include "libs/base/log.h"
#include "services/router/masking.h"

namespace millrace::router {
namespace {

using std::chrono::milliseconds;

constexpr std::string_view kTopicPrefix = "destination.";
constexpr milliseconds kLongestWait{1000};

EngineOptions EngineOptionsOf(const settings::v1::RouterSettings& settings) {
  return {.max_retry_age_s = settings.max_retry_age_s(),
          .retry_initial = milliseconds(settings.retry_initial_ms()),
          .retry_max = milliseconds(settings.retry_max_ms()),
          .mapping_batch = settings.mapping_batch(),
          .request_timeout_ms = settings.request_timeout_ms(),
          .connect_timeout_ms = settings.connect_timeout_ms()};
}

}  // namespace

StatusOr<std::unique_ptr<Worker>> Worker::Create(const settings::v1::RouterSettings& settings,
                                                 const Deps& deps, uint32_t index) {
  MR_ASSIGN_OR_RETURN(auto transport, deps.make_transport());
  return std::unique_ptr<Worker>(new Worker(settings, deps, index, std::move(transport)));
}

Worker::Worker(const settings::v1::RouterSettings& settings, const Deps& deps, uint32_t index,
               std::unique_ptr<delivery::Transport> transport)
    : settings_(settings),
      deps_(deps),
      index_(std::to_string(index)),
      transport_(std::move(transport)),
      inbox_(std::make_shared<Inbox>(transport_.get())),
      reader_(deps.log, {.id = fmt::format("router-{}-{}", deps.instance, index)}, Events()),
      engine_(EngineOptionsOf(settings), deps.clock, *transport_, inbox_, deps.types.make_mapper,
              *this),
      outcomes_(deps.clock, deps.metrics) {}

Worker::~Worker() {
  Stop(milliseconds(0));
}

ReaderEvents Worker::Events() {
  ReaderEvents events;
  events.records = [this](event_log::RecordBatch batch) {
    inbox_->Post([this, held = std::move(batch)] {
      OnRecords(held);
      reader_.BatchTaken();
    });
  };
  events.assigned = [this](std::vector<event_log::CommittedOffset> partitions) {
    inbox_->Post([this, held = std::move(partitions)] { OnAssigned(held); });
  };
  events.drop = [this](std::vector<event_log::TopicPartition> partitions, milliseconds wait) {
    inbox_->Post([this, held = std::move(partitions), wait] { OnDrop(held, wait); });
  };
  events.committed = [this] { inbox_->Post([this] { commit_in_flight_ = false; }); };
  return events;
}

void Worker::Start() {
  thread_ = std::thread([this] { Run(); });
  reader_.Start();
}

void Worker::Stop(milliseconds deadline) {
  if (!thread_.joinable()) return;
  reader_.Stop(deadline);  // gives the partitions up, for which the worker must run
  stopping_ = true;
  transport_->Wake();
  thread_.join();
  inbox_->Close();
}

void Worker::SetWorkspace(config::WorkspacePtr workspace, std::vector<std::string> topics) {
  inbox_->Post([this, held = std::move(workspace)] { OnWorkspace(*held); });
  reader_.SetTopics(std::move(topics));
}

void Worker::Run() {
  while (!stopping_) {
    for (Task& task : inbox_->Take()) task();
    const MonotonicTime now = deps_.clock.Monotonic();
    engine_.Turn(now);
    CompleteDropIfDone(now);
    CommitIfDue(now);
    ShowGauges(now);
    transport_->Run(TimeToWait(deps_.clock.Monotonic()));
  }
}

milliseconds Worker::TimeToWait(MonotonicTime now) const {
  MonotonicTime until = std::min(now + kLongestWait, engine_.next());
  if (changed_at_ && !commit_in_flight_ && !drop_) {
    until = std::min(until, *changed_at_ + milliseconds(settings_.commit_interval_ms()));
  }
  if (drop_) until = std::min(until, drop_->deadline);
  if (until <= now) return milliseconds(0);
  return std::chrono::ceil<milliseconds>(until - now);
}

void Worker::ApplyDestination(Target& target, const config::v1::Destination& destination) {
  const bool same = target.definition != nullptr &&
                    target.destination.revision() == destination.revision() &&
                    target.destination.config_json() == destination.config_json();
  if (same) return;
  target.destination = destination;
  target.definition = deps_.types.find(destination.type());
  if (target.definition == nullptr) return;
  target.mask = MaskOf(*target.definition, destination.config_json());
  const auto& limits = target.definition->limits();
  target.max_in_flight = settings_.concurrent_requests();
  if (limits.concurrent_requests() > 0) {
    target.max_in_flight = std::min<size_t>(target.max_in_flight, limits.concurrent_requests());
  }
  target.bucket = TokenBucket(limits.requests_per_second() / settings_.workers());
  engine_.OnChanged(target);
}

std::shared_ptr<Target> Worker::TargetOf(const std::string& id) {
  auto& target = targets_[id];
  if (target != nullptr) return target;
  target = std::make_shared<Target>(id);
  const telemetry::Labels labels = {{"destination", id}, {"worker", index_}};
  target->in_flight_gauge =
      &deps_.metrics.GetGauge("millrace_router_in_flight_requests", "Requests under way.", labels);
  target->window_gauge =
      &deps_.metrics.GetGauge("millrace_router_window_events", "Events held in memory.", labels);
  return target;
}

void Worker::OnWorkspace(const config::v1::Workspace& workspace) {
  for (const auto& destination : workspace.destinations()) {
    const auto* definition = deps_.types.find(destination.type());
    if (definition == nullptr || definition->kind() != destination::v1::HTTP_DESTINATION) continue;
    ApplyDestination(*TargetOf(destination.id()), destination);
  }
  std::erase_if(targets_, [&](const auto& entry) {
    Target& target = *entry.second;
    if (target.window > 0 || target.in_flight > 0 || target.mapping > 0) return false;
    const auto is_target = [&](const auto& destination) { return destination.id() == target.id; };
    if (std::ranges::any_of(workspace.destinations(), is_target)) return false;
    const auto is_of_target = [&](const auto& each) { return &each.second->target() == &target; };
    if (std::ranges::any_of(windows_, is_of_target)) return false;
    engine_.Forget(target);
    outcomes_.Forget(target.id);
    return true;
  });
}

void Worker::OnAssigned(const std::vector<event_log::CommittedOffset>& partitions) {
  for (const auto& committed : partitions) {
    const std::string& topic = committed.partition.topic;
    if (topic.compare(0, kTopicPrefix.size(), kTopicPrefix) != 0) continue;
    windows_[committed.partition] = std::make_shared<PartitionWindow>(
        committed, TargetOf(topic.substr(kTopicPrefix.size())),
        WindowLimits{.records = settings_.window_records(), .bytes = settings_.window_bytes()});
  }
}

void Worker::OnRecords(const event_log::RecordBatch& batch) {
  std::vector<WindowPtr> sources;
  for (const auto& name : batch.sources) {
    const auto it = windows_.find(name);
    sources.push_back(it == windows_.end() || it->second->dropping ? nullptr : it->second);
  }
  for (const auto& record : batch.records) {
    PartitionWindow* const window = sources[record.source].get();
    if (window == nullptr) continue;  // given up meanwhile: its next owner reads the record again
    const DeliveryPtr delivery = window->TakeIn(record);
    if (delivery == nullptr) {
      NoteChange();
    } else if (window->MayGo(delivery)) {
      engine_.Start(delivery);
    }
  }
  for (const auto& window : sources) {
    if (window != nullptr) PauseOrResume(*window);
  }
}

void Worker::OnDrop(const std::vector<event_log::TopicPartition>& partitions, milliseconds wait) {
  drop_ = Drop{{}, deps_.clock.Monotonic() + wait};
  for (const auto& name : partitions) {
    const auto it = windows_.find(name);
    if (it == windows_.end()) continue;
    it->second->dropping = true;
    engine_.Forget(*it->second);
    drop_->windows.push_back(it->second);
  }
}

void Worker::CompleteDropIfDone(MonotonicTime now) {
  if (!drop_ || commit_in_flight_) return;
  const bool idle = std::ranges::all_of(drop_->windows,
                                        [](const auto& window) { return window->in_flight == 0; });
  if (!idle && now < drop_->deadline) return;
  CommitJob job = MakeJob();
  for (const auto& window : drop_->windows) {
    window->gone = true;
    window->Clear();
    windows_.erase(window->name());
  }
  drop_.reset();
  reader_.Dropped(std::move(job));
}

void Worker::OnEnd(const DeliveryPtr& delivery, const Ending& ending) {
  outcomes_.OnEnd(*delivery, ending);
  NoteChange();
  if (const DeliveryPtr next = delivery->window->Finish(delivery)) engine_.Start(next);
}

void Worker::OnFailure(const DeliveryPtr& delivery, const destination::Answer& answer) {
  outcomes_.OnFailure(*delivery, answer);
  NoteChange();
}

CommitJob Worker::MakeJob() {
  CommitJob job;
  job.records = outcomes_.Take();
  for (const auto& [name, window] : windows_) {
    event_log::OffsetTracker& tracker = window->tracker();
    if (!tracker.changed()) continue;
    job.offsets.push_back({name, tracker.committed(), tracker.Metadata()});
    tracker.MarkCommitted();
    PauseOrResume(*window);
  }
  changed_at_.reset();
  return job;
}

void Worker::NoteChange() {
  if (!changed_at_) changed_at_ = deps_.clock.Monotonic();
}

void Worker::CommitIfDue(MonotonicTime now) {
  if (!changed_at_ || commit_in_flight_ || drop_) return;
  const bool due = now - *changed_at_ >= milliseconds(settings_.commit_interval_ms()) ||
                   outcomes_.finished() >= settings_.commit_max_events();
  if (!due) return;
  commit_in_flight_ = true;
  reader_.Commit(MakeJob());
}

void Worker::PauseOrResume(PartitionWindow& window) {
  if (window.dropping) return;
  const bool want = window.paused ? window.Full(3, 4) : window.Full(1, 1);
  if (want == window.paused) return;
  window.paused = want;
  reader_.SetPaused(window.name(), want);
}

void Worker::ShowGauges(MonotonicTime now) {
  if (now < gauges_at_) return;
  gauges_at_ = now + kLongestWait;
  for (const auto& [id, target] : targets_) {
    target->in_flight_gauge->Set(static_cast<double>(target->in_flight));
    target->window_gauge->Set(static_cast<double>(target->window));
  }
}

}  // namespace millrace::router
