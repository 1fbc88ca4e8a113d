#include "services/processor/outputs.h"

#include <fmt/format.h>

#include "libs/base/text.h"
#include "millrace/delivery/v1/delivery.pb.h"

namespace millrace::processor {

using accounting::v1::Fate;

namespace {
// The event itself keeps the whole name. Beside it an unbounded one could make a record that no log takes,
// at which the processor would stand for ever.
constexpr size_t kEventNameBytes = 1024;
}  // namespace

void Outputs::Count(std::string_view source, std::string_view destination, Fate fate,
                    std::string_view reason) {
  ++counts_[CountKey(source, destination, fate, reason)];
}

void Outputs::Add(const Event& event) {
  const std::string& source = event.meta.source_id();
  Count(source, "", accounting::v1::ACCEPTED);
  switch (event.state) {
    case EventState::kDuplicate:
      return Count(source, "", accounting::v1::DUPLICATE);
    case EventState::kFiltered:
      return Count(source, "", accounting::v1::SOURCE_FILTERED, event.reason);
    case EventState::kDeadLettered:
      return DeadLetter(event);
    case EventState::kLive:
      break;
  }
  const std::vector<Route>* routes = fan_out_.Routes(source);
  const Integrations integrations(event.fields.integrations);
  bad_integrations_ += integrations.bad_all() ? 1 : 0;
  Count(source, "", accounting::v1::PASSED_ON);
  for (const Route& route : *routes) {
    Count(source, route.destination_id, accounting::v1::PASSED_ON);
    const std::string_view reason = WhyNot(route, event.meta.type(), integrations);
    if (reason.empty()) Emit(event, route);
    else Count(source, route.destination_id, accounting::v1::FILTERED, reason);
  }
}

void Outputs::Emit(const Event& event, const Route& route) {
  delivery::v1::DeliveryMeta meta;
  meta.set_workspace_id(event.meta.workspace_id());
  meta.set_source_id(event.meta.source_id());
  meta.set_destination_id(route.destination_id);
  meta.set_message_id(event.meta.message_id());
  meta.set_type(event.meta.type());
  meta.set_received_at_us(event.meta.received_at_us());
  if (!event.fields.event.empty()) {
    meta.mutable_event_name()->assign(
        ClipText(event::DecodeText(event.fields.event), kEventNameBytes));
  }
  meta.set_ingest_partition(event.partition);
  meta.set_ingest_offset(event.offset);
  records_.push_back({.topic = route.topic,
                      .record = {.key = event.user_key,
                                 .meta = Keep(meta.SerializeAsString()),
                                 .value = event.bytes}});
  Count(event.meta.source_id(), route.destination_id, accounting::v1::ROUTED);
}

void Outputs::DeadLetter(const Event& event) {
  delivery::v1::DeadLetter letter;
  letter.set_id(fmt::format("{}-{}-{}", event.stage, event.partition, event.offset));
  letter.mutable_stage()->assign(event.stage);
  letter.set_reason(event.fault);
  letter.mutable_error_class()->assign(event.error_class);
  letter.set_workspace_id(event.meta.workspace_id());
  letter.set_source_id(event.meta.source_id());
  letter.set_message_id(event.meta.message_id());
  letter.set_type(event.meta.type());
  letter.mutable_event()->assign(event.bytes);
  letter.set_received_at_us(event.meta.received_at_us());
  letter.set_failed_at_us(now_us_);
  letter.set_attempts(1);
  letter.mutable_user_key()->assign(event.user_key);
  records_.push_back(
      {.topic = event_log::kDeadLetterTopic,
       .record = {.key = event.user_key, .value = Keep(letter.SerializeAsString())}});
  Count(event.meta.source_id(), "", accounting::v1::SOURCE_DEAD_LETTERED, event.reason);
}

void Outputs::AddChangelog(int32_t partition, std::string packed) {
  records_.push_back({.topic = event_log::kDedupTopic,
                      .record = {.value = Keep(std::move(packed)), .partition = partition}});
}

void Outputs::Finish() {
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
  records_.push_back({.topic = event_log::kCountersTopic,
                      .record = {.value = Keep(counters.SerializeAsString())}});
}

}  // namespace millrace::processor
