#include "services/processor/outputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "libs/base/text.h"
#include "millrace/delivery/v1/delivery.pb.h"
#include "services/processor/routing_keys.h"

namespace millrace::processor {

using accounting::v1::Fate;

namespace {
// The event itself keeps the whole name. Beside it an unbounded one could make a record that no log
// takes, at which the processor would stand for ever.
constexpr size_t kEventNameBytes = 1024;

/// A record may stand for several events that the gateway has refused.
int64_t EventsOf(const Event& event) {
  return std::max<int64_t>(event.meta.rejected_count(), 1);
}
}  // namespace

void Outputs::Count(std::string_view source, std::string_view destination, Fate fate,
                    std::string_view reason, int64_t events) {
  counts_[CountKey(source, destination, fate, reason)] += events;
}

void Outputs::Add(Event event) {
  const std::string& source = event.meta.source_id();
  Count(source, "", event.extra ? accounting::v1::PRODUCED : accounting::v1::ACCEPTED, "",
        EventsOf(event));
  if (EventsOf(event) > 1) {
    Count(source, "", accounting::v1::BEYOND_RECORD, "", EventsOf(event) - 1);
  }
  if (!event.meta.redrive().destination_id().empty()) return AddRedriven(std::move(event));
  switch (event.state) {
    case EventState::kDuplicate:
      return Count(source, "", accounting::v1::DUPLICATE);
    case EventState::kFiltered:
      return Count(source, "", accounting::v1::SOURCE_FILTERED, event.reason);
    case EventState::kDropped:
      return Count(source, "", accounting::v1::DROPPED, event.reason);
    case EventState::kDeadLettered:
      return DeadLetter(event, "");
    case EventState::kLive:
      break;
  }
  Count(source, "", accounting::v1::PASSED_ON);
  const SourceRoutes& routes = *fan_out_.Source(source);
  for (const Route& route : routes.routes) {
    Count(source, route.destination_id, accounting::v1::PASSED_ON);
  }
  AddToRoutes(std::move(event), routes, nullptr);
}

/// An event that failed in the transformations of one connection: it is for that alone, and counted
/// there.
void Outputs::AddRedriven(Event event) {
  Count(event.meta.source_id(), "", accounting::v1::RETURNED);
  const std::string destination_id = event.meta.redrive().destination_id();
  if (event.state == EventState::kLive) {
    const SourceRoutes& source = *fan_out_.Source(event.meta.source_id());
    for (const Route& route : source.routes) {
      if (route.destination_id == destination_id)
        return AddToRoutes(std::move(event), source, &route);
    }
    event.error_class = "discarded";
    event.DeadLetter("connection_missing", "the connection is not in the workspace any more");
  }
  DeadLetter(event, destination_id);
}

/// `only`: not to the others.
void Outputs::AddToRoutes(Event event, const SourceRoutes& source, const Route* only) {
  const std::string& source_id = event.meta.source_id();
  const Integrations integrations(event.fields.integrations);
  bad_integrations_ += integrations.bad_all() ? 1 : 0;
  std::vector<std::pair<int, Routes>> groups;
  for (const Route& route : source.routes) {
    if (only != nullptr && &route != only) continue;
    const std::string_view reason = WhyNot(route, event.meta.type(), integrations);
    if (!reason.empty()) {
      Count(source_id, route.destination_id, accounting::v1::FILTERED, reason);
    } else if (route.group < 0) {
      Emit(event, route);
    } else {
      const auto found = std::find_if(groups.begin(), groups.end(), [&](const auto& group) {
        return group.first == route.group;
      });
      if (found != groups.end())
        found->second.push_back(&route);
      else
        groups.push_back({route.group, {&route}});
    }
  }
  for (size_t i = 0; i + 1 < groups.size(); ++i) {
    Chain(event, source, groups[i].first, std::move(groups[i].second));
  }
  if (!groups.empty()) {
    Chain(std::move(event), source, groups.back().first, std::move(groups.back().second));
  }
}

void Outputs::Chain(Event event, const SourceRoutes& source, int group, Routes routes) {
  const auto [found, is_new] = run_of_.try_emplace({&source, group}, chained_.size());
  if (is_new) {
    chained_.push_back({.chain = &source.groups[static_cast<size_t>(group)]});
    chained_routes_.emplace_back();
  }
  event.extra = false;  // it was there when it reached the connection
  event.slot = chained_routes_[found->second].size();
  chained_routes_[found->second].push_back(std::move(routes));
  chained_[found->second].events.push_back(std::move(event));
}

void Outputs::AddChained() {
  for (size_t i = 0; i < chained_.size(); ++i) {
    for (const Event& event : chained_[i].events) {
      const std::string& source = event.meta.source_id();
      for (const Route* route : chained_routes_[i][event.slot]) {
        const std::string& destination = route->destination_id;
        if (event.extra) Count(source, destination, accounting::v1::PRODUCED);
        if (event.state == EventState::kDropped) {
          Count(source, destination, accounting::v1::DROPPED, event.reason);
        } else if (!event.live()) {
          DeadLetter(event, destination);
        } else if (!TakesType(*route, event.meta.type())) {
          Count(source, destination, accounting::v1::FILTERED, "message_type_not_supported");
        } else {
          Emit(event, *route);
        }
      }
    }
  }
}

namespace {

delivery::v1::DeliveryMeta MetaOf(const Event& event, const std::string& destination_id) {
  delivery::v1::DeliveryMeta meta;
  meta.set_workspace_id(event.meta.workspace_id());
  meta.set_source_id(event.meta.source_id());
  meta.set_destination_id(destination_id);
  meta.set_message_id(event.meta.message_id());
  meta.set_type(event.meta.type());
  meta.set_received_at_us(event.meta.received_at_us());
  if (!event.fields.event.empty()) {
    meta.mutable_event_name()->assign(
        ClipText(event::DecodeText(event.fields.event), kEventNameBytes));
  }
  meta.set_ingest_partition(event.partition);
  meta.set_ingest_offset(event.offset);
  meta.set_ingest_index(event.index);
  meta.mutable_transformation_versions()->Assign(event.versions.begin(), event.versions.end());
  return meta;
}

/// Those of `keys` that transformations set, now or before the event was dead-lettered.
std::vector<std::string> SetKeys(const Event& event, const std::vector<std::string>& keys) {
  if (keys.empty()) return {};
  std::vector<std::string> set;
  if (!event.accepted.empty()) set = ChangedKeys(event.accepted.view(), event.bytes.view(), keys);
  for (const std::string& key : event.meta.redrive().changed_keys()) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) continue;
    if (std::find(set.begin(), set.end(), key) == set.end()) set.push_back(key);
  }
  return set;
}

/// With what a letter of a transformation goes back into `ingest`.
event::v1::EventMeta IngestMetaOf(const Event& event, const std::string& destination_id,
                                  const std::vector<std::string>& routing_keys) {
  const std::vector<std::string> set = SetKeys(event, routing_keys);
  event::v1::EventMeta meta = event.meta;
  auto& redrive = *meta.mutable_redrive();
  redrive.set_destination_id(destination_id);
  redrive.set_transformation_id(event.failed_step.empty() ? event.resume_at : event.failed_step);
  redrive.mutable_transformation_versions()->Assign(event.versions.begin(), event.versions.end());
  redrive.mutable_changed_keys()->Assign(set.begin(), set.end());
  return meta;
}

/// Stable: the same when the batch is read again. Of what transformations made of one record each
/// has its own.
std::string LetterId(const Event& event, const std::string& destination_id) {
  std::string id = fmt::format("{}-{}-{}", event.stage, event.partition, event.offset);
  if (!destination_id.empty()) id += "-" + destination_id;
  if (!event.failed_step.empty()) id += fmt::format("-{}.{}", event.failed_at, event.index);
  return id;
}

}  // namespace

void Outputs::EmitNowhere(const Event& event, const Route& route, std::string_view reason) {
  if (reason == kDestinationDeleted) {  // as of all that waits for one that is deleted: no body
    return Count(event.meta.source_id(), route.destination_id, accounting::v1::DEAD_LETTERED,
                 reason);
  }
  Event refused = event;
  refused.error_class = "discarded";
  refused.DeadLetter(kTopicMissing,
                     "the destination's topic is not in the log; send the event again once it is");
  DeadLetter(refused, route.destination_id);
}

void Outputs::Emit(const Event& event, const Route& route) {
  if (overfull()) return;
  if (!missing_.empty()) {
    const auto found = missing_.find(route.destination_id);
    if (found != missing_.end()) return EmitNowhere(event, route, found->second);
  }
  delivery::v1::DeliveryMeta meta = MetaOf(event, route.destination_id);
  const std::vector<std::string> set = SetKeys(event, route.routing_keys);
  meta.mutable_changed_keys()->Assign(set.begin(), set.end());
  held_.push_back(event.bytes);
  AddRecord({.topic = route.topic,
             .record = {.key = event.user_key,
                        .meta = Keep(meta.SerializeAsString()),
                        .value = event.bytes.view()}},
            event.order);
  Count(event.meta.source_id(), route.destination_id, accounting::v1::ROUTED);
}

void Outputs::DeadLetter(const Event& event, const std::string& destination_id) {
  if (overfull()) return;
  delivery::v1::DeadLetter letter;
  letter.set_id(LetterId(event, destination_id));
  letter.mutable_stage()->assign(event.stage);
  letter.set_reason(event.fault);
  letter.mutable_error_class()->assign(event.error_class);
  letter.set_workspace_id(event.meta.workspace_id());
  letter.set_source_id(event.meta.source_id());
  letter.set_destination_id(destination_id);
  letter.set_message_id(event.meta.message_id());
  letter.set_type(event.meta.type());
  letter.mutable_event()->assign(event.bytes.view());
  letter.set_received_at_us(event.meta.received_at_us());
  letter.set_failed_at_us(now_us_);
  letter.set_attempts(event.attempts);
  letter.set_stack(event.stack);
  letter.mutable_user_key()->assign(event.user_key);
  letter.set_count(event.meta.rejected_count());
  if (!destination_id.empty()) *letter.mutable_delivery() = MetaOf(event, destination_id);
  if (!event.failed_step.empty() || event.meta.has_redrive()) {
    *letter.mutable_ingest() = IngestMetaOf(event, destination_id, fan_out_.routing_keys());
  }
  AddRecord({.topic = event_log::kDeadLetterTopic,
             .record = {.key = event.user_key, .value = Keep(letter.SerializeAsString())}},
            event.order);
  const bool at_source = destination_id.empty();
  Count(event.meta.source_id(), destination_id,
        at_source ? accounting::v1::SOURCE_DEAD_LETTERED : accounting::v1::DEAD_LETTERED,
        event.reason, EventsOf(event));
}

void Outputs::AddRecord(std::string_view topic, int32_t partition, std::string value) {
  AddRecord({.topic = topic, .record = {.value = Keep(std::move(value)), .partition = partition}},
            SIZE_MAX);
}

void Outputs::AddLost(int64_t records) {
  if (records != 0) Count("", "", accounting::v1::LOST_RECORD, "", records);
}

void Outputs::AddRecord(event_log::TopicRecord record, size_t order) {
  bytes_ += record.record.key.size() + record.record.meta.size() + record.record.value.size();
  records_.push_back(record);
  orders_.push_back(order);
}

/// Puts the records of what passed transformations, which came last, where the log's order has
/// them: events of one user may have come to a destination on different ways.
void Outputs::Sort() {
  std::vector<size_t> places(records_.size());
  std::iota(places.begin(), places.end(), size_t{0});
  std::stable_sort(places.begin(), places.end(),
                   [this](size_t a, size_t b) { return orders_[a] < orders_[b]; });
  std::vector<event_log::TopicRecord> sorted;
  sorted.reserve(records_.size());
  for (const size_t place : places) sorted.push_back(records_[place]);
  records_ = std::move(sorted);
}

void Outputs::Finish() {
  if (!chained_.empty()) Sort();
  accounting::v1::Counters counters;
  counters.set_workspace_id(fan_out_.workspace().id());
  counters.set_stage("processor");
  counters.set_at_us(now_us_);
  for (const auto& [key, count] : counts_) {
    auto* entry = counters.add_counts();
    entry->set_source_id(std::get<0>(key));
    entry->set_destination_id(std::get<1>(key));
    entry->set_fate(std::get<2>(key));
    entry->set_reason(std::get<3>(key));
    entry->set_count(count);
  }
  AddRecord(event_log::kCountersTopic, -1, counters.SerializeAsString());
}

}  // namespace millrace::processor
