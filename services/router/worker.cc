#include "services/router/worker.h"

#include <algorithm>
#include <utility>

#include "libs/base/log.h"
#include "libs/pipeline/topology.h"
#include "services/router/masking.h"

namespace millrace::router {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLongestWait{1000}, kShortestWait{100};
// Of parked events and dead letters that wait to be committed; beyond it nothing more is read or
// given up: one transaction has to fit beside a log that is nearly full.
constexpr size_t kMaxBytesToWrite = 1 << 20;

EngineOptions EngineOptionsOf(const settings::v1::RouterSettings& settings) {
  return {.retry = {.backoff = {.initial = milliseconds(settings.retry_initial_ms()),
                                .maximum = milliseconds(settings.retry_max_ms())},
                    .max_retry_after = std::chrono::seconds(settings.retry_after_cap_s()),
                    .max_age = std::chrono::seconds(settings.max_retry_age_s())},
          .mapping_batch = settings.mapping_batch(),
          .request_timeout_ms = settings.request_timeout_ms(),
          .connect_timeout_ms = settings.connect_timeout_ms(),
          .suspect_for = milliseconds(settings.park_after_ms())};
}

LaneOptions LaneOptionsOf(const settings::v1::RouterSettings& settings) {
  return {
      .window = {.records = settings.window_records(), .bytes = settings.window_bytes()},
      .park_after = milliseconds(settings.park_after_ms()),
      .longest_wait = std::max<milliseconds>(milliseconds(settings.retry_max_ms()),
                                             std::chrono::seconds(settings.retry_after_cap_s())),
      .max_age = std::chrono::seconds(settings.max_retry_age_s())};
}

}  // namespace

StatusOr<std::unique_ptr<Worker>> Worker::Create(const settings::v1::RouterSettings& settings,
                                                 const Deps& deps, Shared& shared, uint32_t index) {
  MR_ASSIGN_OR_RETURN(auto transport, deps.make_transport());
  return std::unique_ptr<Worker>(new Worker(settings, deps, shared, index, std::move(transport)));
}

Worker::Worker(const settings::v1::RouterSettings& settings, const Deps& deps, Shared& shared,
               uint32_t index, std::unique_ptr<delivery::Transport> transport)
    : settings_(settings),
      deps_(deps),
      shared_(shared),
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
      ++batches_held_back_;
    });
  };
  events.assigned = [this](std::vector<event_log::CommittedOffset> partitions) {
    inbox_->Post([this, held = std::move(partitions)] { OnAssigned(held); });
  };
  events.drop = [this](std::vector<event_log::TopicPartition> partitions, milliseconds wait) {
    inbox_->Post([this, held = std::move(partitions), wait] { OnDrop(held, wait); });
  };
  events.committed = [this] {
    inbox_->Post([this] {
      commit_in_flight_ = false;
      look_after_at_ = std::min(look_after_at_, deps_.clock.Monotonic() + kShortestWait);
    });
  };
  events.sought = [this](event_log::TopicPartition partition) {
    inbox_->Post([this, held = std::move(partition)] {
      const Place place = PlaceOf(held, /*add=*/false);
      if (place.lane != nullptr) place.lane->OnSought(place.half);
    });
  };
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

void Worker::OnCircuitChanged(const std::string& destination_id) {
  inbox_->Post([this, destination_id] {
    const auto it = targets_.find(destination_id);
    if (it != targets_.end()) engine_.OnCircuit(*it->second);
  });
}

void Worker::Run() {
  while (!stopping_) {
    for (Task& task : inbox_->Take()) task();
    const MonotonicTime now = deps_.clock.Monotonic();
    engine_.Turn(now);
    LookAfter(now);
    CompleteDropIfDone(now);
    CommitIfDue(now);
    for (; batches_held_back_ > 0 && MayWriteMore(); --batches_held_back_) {
      reader_.BatchTaken();
    }
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
                    target.destination.SerializeAsString() == destination.SerializeAsString();
  if (same) return;
  target.destination = destination;
  target.give_up =
      delivery::GiveUpRules(destination, std::chrono::seconds(settings_.disabled_backlog_s()));
  target.definition = deps_.types.find(destination.type());
  if (target.definition == nullptr) return;
  target.mask = MaskOf(*target.definition, destination.config_json());
  const auto& limits = target.definition->limits();
  target.max_in_flight = settings_.concurrent_requests();
  target.max_shared_in_flight = limits.concurrent_requests();
  target.shared->rate.SetRate(limits.requests_per_second());
  target.try_all_since_us = shared_.ages.WallMicros(deps_.clock.Monotonic());
  engine_.OnChanged(target);
}

std::shared_ptr<Target> Worker::TargetOf(const std::string& id) {
  auto& target = targets_[id];
  if (target != nullptr) return target;
  target = std::make_shared<Target>(id, shared_.destinations.Of(id));
  const telemetry::Labels labels = {{"destination", id}, {"worker", index_}};
  const auto gauge = [&](const char* name, const char* help) {
    return &deps_.metrics.GetGauge(name, help, labels);
  };
  target->in_flight_gauge = gauge("millrace_router_in_flight_requests", "Requests under way.");
  target->window_gauge = gauge("millrace_router_window_events", "Events held in memory.");
  target->oldest_gauge = gauge("millrace_router_oldest_event_seconds",
                               "Age of the oldest event in memory that is not finished.");
  target->parked_users_gauge =
      gauge("millrace_router_parked_users", "Users whose events wait in the parking topic.");
  target->parked_events_gauge =
      gauge("millrace_router_parked_events", "Events that wait in the parking topic.");
  return target;
}

void Worker::OnWorkspace(const config::v1::Workspace& workspace) {
  std::set<std::string> known;
  for (const auto& destination : workspace.destinations()) {
    const auto* definition = deps_.types.find(destination.type());
    if (definition == nullptr || definition->kind() != destination::v1::HTTP_DESTINATION) continue;
    known.insert(destination.id());
    ApplyDestination(*TargetOf(destination.id()), destination);
  }
  std::erase_if(targets_, [&](const auto& entry) {
    Target& target = *entry.second;
    if (known.contains(target.id) || target.window > 0 || target.in_flight() > 0 ||
        target.mapping > 0) {
      return false;
    }
    const auto lane = lanes_.lower_bound({target.id, 0});
    if (lane != lanes_.end() && lane->first.first == target.id) return false;
    engine_.Forget(target);
    outcomes_.Forget(target.id);
    return true;
  });
}

Worker::Place Worker::PlaceOf(const event_log::TopicPartition& partition, bool add) {
  auto id = pipeline::DestinationOf(partition.topic);
  const Lane::Half half = id ? Lane::kMain : Lane::kParking;
  if (!id) id = pipeline::ParkedDestinationOf(partition.topic);
  if (!id) return {};
  const LaneKey key{*id, partition.partition};
  auto it = lanes_.find(key);
  if (it == lanes_.end()) {
    if (!add) return {};
    it = lanes_
             .emplace(key, std::make_unique<Lane>(
                               TargetOf(*id), LaneOptionsOf(settings_),
                               WindowDeps{.ages = shared_.ages, .budget = shared_.budget},
                               static_cast<LaneHost&>(*this)))
             .first;
  }
  return {it->second.get(), half};
}

void Worker::OnAssigned(const std::vector<event_log::CommittedOffset>& partitions) {
  const MonotonicTime now = deps_.clock.Monotonic();
  for (const auto& committed : partitions) {
    const Place place = PlaceOf(committed.partition, /*add=*/true);
    if (place.lane != nullptr) place.lane->OnAssigned(committed, place.half, now);
  }
}

void Worker::OnRecords(const event_log::RecordBatch& batch) {
  const MonotonicTime now = deps_.clock.Monotonic();
  std::vector<Place> places;
  for (const auto& name : batch.sources) places.push_back(PlaceOf(name, /*add=*/false));
  for (const auto& record : batch.records) {
    const Place& place = places[record.source];
    // Without a lane it was given up meanwhile: its next owner reads the record again.
    if (place.lane != nullptr) place.lane->OnRecord(place.half, record, now);
  }
  for (const Place& place : places) {
    if (place.lane == nullptr) continue;
    if (place.lane->gives_up()) place.lane->EndOverdue(now);
    place.lane->PauseOrResume();
  }
}

void Worker::OnDrop(const std::vector<event_log::TopicPartition>& partitions, milliseconds wait) {
  drop_ = Drop{{}, {}, deps_.clock.Monotonic() + wait};
  for (const auto& name : partitions) {
    const Place place = PlaceOf(name, /*add=*/false);
    if (place.lane == nullptr) continue;
    drop_->lanes.insert({place.lane->target().id, name.partition});
    for (const auto& window : place.lane->BeginDrop(place.half)) {
      engine_.Forget(*window);
      drop_->windows.push_back(window);
    }
  }
}

void Worker::CompleteDropIfDone(MonotonicTime now) {
  if (!drop_ || commit_in_flight_) return;
  const bool idle = std::ranges::all_of(drop_->windows,
                                        [](const auto& window) { return window->in_flight == 0; });
  if (!idle && now < drop_->deadline) return;
  CommitJob job = MakeJob();
  for (const LaneKey& key : drop_->lanes) {
    const auto it = lanes_.find(key);
    it->second->EndDrop(now);
    if (!it->second->owns_any()) lanes_.erase(it);
  }
  drop_.reset();
  reader_.Dropped(std::move(job));
}

void Worker::OnEnd(const DeliveryPtr& delivery, const Ending& ending) {
  outcomes_.OnEnd(*delivery, ending);
  NoteChange();
  delivery->window->lane->OnEnd(delivery, deps_.clock.Monotonic());
}

bool Worker::OnFailure(const DeliveryPtr& delivery, const destination::Answer& answer,
                       MonotonicTime retry_at) {
  outcomes_.OnFailure(*delivery, answer);
  NoteChange();
  return delivery->window->lane->TakesOver(delivery, deps_.clock.Monotonic(), retry_at);
}

void Worker::OnCircuit(Target& target) {
  if (!target.shared->circuit.open()) {
    target.try_all_since_us = shared_.ages.WallMicros(deps_.clock.Monotonic());
  }
  shared_.circuit_changed(target.id);
}

void Worker::StartAt(const DeliveryPtr& delivery, MonotonicTime at) {
  engine_.StartAt(delivery, at);
}

void Worker::Withdraw(const DeliveryPtr& delivery) {
  engine_.Withdraw(delivery);
}

void Worker::Park(ParkedRecord record) {
  parked_bytes_ += record.key.size() + record.meta.size() + record.value.size();
  parked_.push_back(std::move(record));
}

bool Worker::MayWriteMore() const {
  return parked_bytes_ + outcomes_.dead_letter_bytes() < kMaxBytesToWrite;
}

void Worker::NoteChange() {
  if (!changed_at_) changed_at_ = deps_.clock.Monotonic();
}

void Worker::GiveUp(const DeliveryPtr& delivery, std::string error_class, std::string reason) {
  engine_.Withdraw(delivery);
  OnEnd(delivery, {.outcome = delivery::v1::DEAD_LETTERED,
                   .error_class = std::move(error_class),
                   .reason = std::move(reason)});
}

void Worker::SetPaused(const event_log::TopicPartition& partition, bool paused) {
  reader_.SetPaused(partition, paused);
}

void Worker::Seek(const event_log::TopicPartition& partition, int64_t offset) {
  reader_.Seek(partition, offset);
}

CommitJob Worker::MakeJob() {
  CommitJob job;
  job.records = outcomes_.Take();
  job.parked = std::exchange(parked_, {});
  parked_bytes_ = 0;
  for (const auto& [key, lane] : lanes_) {
    const size_t before = job.offsets.size();
    lane->AddOffsets(&job.offsets);
    if (job.offsets.size() > before) lane->PauseOrResume();
  }
  changed_at_.reset();
  return job;
}

void Worker::CommitIfDue(MonotonicTime now) {
  if (!changed_at_ || commit_in_flight_ || drop_) return;
  const bool due = now - *changed_at_ >= milliseconds(settings_.commit_interval_ms()) ||
                   outcomes_.finished() >= settings_.commit_max_events() || !MayWriteMore();
  if (!due) return;
  commit_in_flight_ = true;
  reader_.Commit(MakeJob());
}

void Worker::LookAfter(MonotonicTime now) {
  if (now < look_after_at_) return;
  look_after_at_ = now + kLongestWait;
  if (deps_.shares != nullptr) {
    const auto look = deps_.shares->Current();
    for (const auto& [id, target] : targets_) {
      const pipeline::DestinationShare* const share = look->Find(id);
      target->shared->SetToGiveUp(look->sequence, share == nullptr ? 0 : share->bytes_to_give_up);
    }
  }
  for (const auto& [key, lane] : lanes_) {
    lane->EndOverdue(now);
    lane->Relieve(now);
    lane->PauseOrResume();
  }
  ShowGauges(now);
}

void Worker::ShowGauges(MonotonicTime now) {
  struct Sum {
    size_t users = 0;
    size_t events = 0;
    MonotonicTime oldest = MonotonicTime::max();
  };
  std::map<const Target*, Sum> sums;
  for (const auto& [key, lane] : lanes_) {
    Sum& sum = sums[&lane->target()];
    sum.users += lane->parked_users();
    sum.events += lane->parked_events();
    for (const auto half : {Lane::kMain, Lane::kParking}) {
      const auto& window = lane->window(half);
      if (window != nullptr) sum.oldest = std::min(sum.oldest, window->OldestBirth());
    }
  }
  for (const auto& [id, target] : targets_) {
    const Sum& sum = sums[target.get()];
    target->in_flight_gauge->Set(static_cast<double>(target->in_flight()));
    target->window_gauge->Set(static_cast<double>(target->window));
    target->parked_users_gauge->Set(static_cast<double>(sum.users));
    target->parked_events_gauge->Set(static_cast<double>(sum.events));
    const bool none = sum.oldest == MonotonicTime::max();
    target->oldest_gauge->Set(none ? 0 : std::chrono::duration<double>(now - sum.oldest).count());
  }
}

}  // namespace millrace::router
