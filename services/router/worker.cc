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

http::ClientOptions ClientOptionsOf(const settings::v1::RouterSettings& settings) {
  http::ClientOptions options;
  // The bounds are each destination's own; a shared one would let a hanging tool slow the others.
  options.max_connections = 16'384;
  options.max_connections_per_host = 4'096;
  options.allowed_networks.assign(settings.allowed_networks().begin(),
                                  settings.allowed_networks().end());
  return options;
}

}  // namespace

StatusOr<std::unique_ptr<Worker>> Worker::Create(const settings::v1::RouterSettings& settings,
                                                 const Deps& deps, uint32_t index) {
  MR_ASSIGN_OR_RETURN(auto client, http::Client::Create(ClientOptionsOf(settings)));
  return std::unique_ptr<Worker>(new Worker(settings, deps, index, std::move(client)));
}

Worker::Worker(const settings::v1::RouterSettings& settings, const Deps& deps, uint32_t index,
               std::unique_ptr<http::Client> client)
    : settings_(settings),
      deps_(deps),
      index_(std::to_string(index)),
      client_(std::move(client)),
      inbox_(std::make_shared<Inbox>(client_.get())),
      reader_(deps.log, {.id = fmt::format("router-{}-{}", deps.instance, index)}, Events()) {}

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
  client_->Wake();
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
    DeliveryPtr due;
    while (retries_.Take(now, &due)) Queue(due);
    Pump();
    CompleteDropIfDone(now);
    CommitIfDue(now);
    ShowGauges(now);
    client_->Run(TimeToWait(deps_.clock.Monotonic()));
  }
}

milliseconds Worker::TimeToWait(MonotonicTime now) const {
  MonotonicTime until = now + kLongestWait;
  if (!retries_.empty()) until = std::min(until, retries_.next());
  if (changed_at_ && !commit_in_flight_ && !drop_) {
    until = std::min(until, *changed_at_ + milliseconds(settings_.commit_interval_ms()));
  }
  if (drop_) until = std::min(until, drop_->deadline);
  for (const auto& [id, target] : targets_) {
    if (target->to_send.empty() || target->in_flight >= target->max_in_flight) continue;
    until = std::min(until, std::max(target->not_before, target->bucket.Next(now)));
  }
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
  target.secrets = SecretsOf(*target.definition, destination.config_json());
  const auto& limits = target.definition->limits();
  target.max_in_flight = settings_.concurrent_requests();
  if (limits.concurrent_requests() > 0) {
    target.max_in_flight = std::min<size_t>(target.max_in_flight, limits.concurrent_requests());
  }
  target.bucket = TokenBucket(limits.requests_per_second() / settings_.workers());
  target.mapper = nullptr;
  target.make_mapper_after = {};
  ++target.version;
}

std::shared_ptr<Target> Worker::TargetOf(const std::string& id) {
  auto& target = targets_[id];
  if (target != nullptr) return target;
  target = std::make_shared<Target>(id);
  telemetry::Metrics& metrics = deps_.metrics;
  target->latency = &metrics.GetHistogram("millrace_router_delivery_seconds",
                                          "Time from received to delivered, in seconds.",
                                          telemetry::LatencyBounds(), {{"destination", id}});
  const telemetry::Labels labels = {{"destination", id}, {"worker", index_}};
  target->in_flight_gauge =
      &metrics.GetGauge("millrace_router_in_flight_requests", "Requests under way.", labels);
  target->window_gauge =
      &metrics.GetGauge("millrace_router_window_events", "Events held in memory.", labels);
  return target;
}

void Worker::OnWorkspace(const config::v1::Workspace& workspace) {
  for (const auto& destination : workspace.destinations()) {
    const auto* definition = deps_.types.find(destination.type());
    if (definition == nullptr || definition->kind() != destination::v1::HTTP_DESTINATION) continue;
    ApplyDestination(*TargetOf(destination.id()), destination);
  }
  std::erase_if(targets_, [&](const auto& entry) {
    if (entry.second->window > 0 || entry.second->in_flight > 0) return false;
    const auto is_target = [&](const auto& destination) { return destination.id() == entry.first; };
    if (std::ranges::any_of(workspace.destinations(), is_target)) return false;
    return std::ranges::none_of(
        partitions_, [&](const auto& each) { return each.second->target == entry.second; });
  });
}

void Worker::OnAssigned(const std::vector<event_log::CommittedOffset>& partitions) {
  for (const auto& committed : partitions) {
    const std::string& topic = committed.partition.topic;
    if (topic.compare(0, kTopicPrefix.size(), kTopicPrefix) != 0) continue;
    partitions_[committed.partition] = std::make_shared<Partition>(
        committed.partition, committed, TargetOf(topic.substr(kTopicPrefix.size())));
  }
}

void Worker::OnRecords(const event_log::RecordBatch& batch) {
  std::vector<std::shared_ptr<Partition>> sources;
  for (const auto& name : batch.sources) {
    const auto it = partitions_.find(name);
    sources.push_back(it == partitions_.end() || it->second->dropping ? nullptr : it->second);
  }
  for (const auto& record : batch.records) {
    // A partition given up meanwhile: its next owner reads the record again.
    if (sources[record.source] != nullptr) TakeIn(sources[record.source], batch, record);
  }
  for (const auto& partition : sources) {
    if (partition != nullptr) PauseOrResume(*partition);
  }
}

void Worker::TakeIn(const std::shared_ptr<Partition>& partition,
                    const event_log::RecordBatch& batch, const event_log::ConsumedRecord& record) {
  bool done = false;
  const uint64_t ticket = partition->tracker.Add(record.offset, &done);
  if (done) {
    NoteChange();
    return;
  }
  auto delivery = std::make_shared<Delivery>();
  delivery->partition = partition;
  delivery->owner = batch.owner;
  delivery->key = record.key;
  delivery->event = record.value;
  delivery->offset = record.offset;
  delivery->appended_at_us = record.appended_at_us;
  delivery->ticket = ticket;
  Target& target = *partition->target;
  delivery->ordered = target.definition == nullptr || !target.definition->unordered();
  partition->deliveries.emplace(ticket, delivery);
  partition->bytes += record.key.size() + record.value.size();
  ++target.window;
  const bool understood =
      delivery->meta.ParseFromArray(record.meta.data(), static_cast<int>(record.meta.size()));
  if (!understood) delivery->meta.Clear();
  if (delivery->meta.destination_id().empty()) delivery->meta.set_destination_id(target.id);
  const bool ready = !delivery->ordered || partition->window.Add(delivery.get());
  if (ready) target.to_map.push_back(std::move(delivery));
}

void Worker::OnDrop(const std::vector<event_log::TopicPartition>& partitions, milliseconds wait) {
  drop_ = Drop{{}, deps_.clock.Monotonic() + wait};
  for (const auto& name : partitions) {
    const auto it = partitions_.find(name);
    if (it == partitions_.end()) continue;
    it->second->dropping = true;
    drop_->partitions.push_back(it->second);
  }
}

void Worker::CompleteDropIfDone(MonotonicTime now) {
  if (!drop_ || commit_in_flight_) return;
  const bool idle = std::ranges::all_of(
      drop_->partitions, [](const auto& partition) { return partition->in_flight == 0; });
  if (!idle && now < drop_->deadline) return;
  CommitJob job = MakeJob();
  for (const auto& partition : drop_->partitions) {
    partition->gone = true;
    partition->target->window -= partition->deliveries.size();
    partition->deliveries.clear();
    partitions_.erase(partition->name);
  }
  drop_.reset();
  reader_.Dropped(std::move(job));
}

CommitJob Worker::MakeJob() {
  CommitJob job;
  job.records = results_.Take(deps_.clock.NowMicros());
  for (const auto& [name, partition] : partitions_) {
    event_log::OffsetTracker& tracker = partition->tracker;
    if (!tracker.changed()) continue;
    job.offsets.push_back({name, tracker.committed(), tracker.Metadata()});
    tracker.MarkCommitted();
    PauseOrResume(*partition);
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
                   results_.finished() >= settings_.commit_max_events();
  if (!due) return;
  commit_in_flight_ = true;
  reader_.Commit(MakeJob());
}

bool Worker::Full(const Partition& partition, size_t numerator, size_t denominator) const {
  return partition.deliveries.size() * denominator >= settings_.window_records() * numerator ||
         partition.bytes * denominator >= settings_.window_bytes() * numerator ||
         !partition.tracker.RoomForMore();
}

void Worker::PauseOrResume(Partition& partition) {
  if (partition.dropping) return;
  const bool want = partition.paused ? Full(partition, 3, 4) : Full(partition, 1, 1);
  if (want == partition.paused) return;
  partition.paused = want;
  reader_.SetPaused(partition.name, want);
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
