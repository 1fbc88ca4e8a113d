#include "services/processor/fan_out.h"

#include <rapidjson/document.h>

#include <algorithm>
#include <utility>

#include "libs/event/event_fields.h"
#include "libs/event_log/event_log.h"

namespace millrace::processor {
namespace {

Route MakeRoute(const config::v1::Connection& connection,
                const config::v1::Destination* destination, const DestinationTypes& types) {
  Route route;
  route.destination_id = connection.destination_id();
  route.topic = event_log::DestinationTopic(route.destination_id);
  if (destination == nullptr) {
    route.closed = "destination_missing";
    return route;
  }
  route.names = {destination->id(), destination->name(), destination->type()};
  if (!connection.enabled()) route.closed = "connection_disabled";
  if (!destination->enabled()) route.closed = "destination_disabled";
  const destination::v1::Definition* definition = types(destination->type());
  if (definition == nullptr) {
    route.closed = "destination_type_unknown";
    return route;
  }
  route.names.push_back(definition->display_name());
  for (const std::string& name : definition->message_types()) {
    route.types.push_back(event::ParseEventType(name));
  }
  return route;
}

}  // namespace

FanOut::FanOut(config::WorkspacePtr workspace, const DestinationTypes& types)
    : workspace_(std::move(workspace)) {
  StringMap<const config::v1::Destination*> destinations;
  for (const auto& destination : workspace_->destinations()) {
    destinations[destination.id()] = &destination;
    destination_ids_.push_back(destination.id());
  }
  for (const auto& source : workspace_->sources()) routes_[source.id()];
  for (const auto& connection : workspace_->connections()) {
    const auto source = routes_.find(connection.source_id());
    if (source == routes_.end()) continue;
    const auto found = destinations.find(connection.destination_id());
    source->second.push_back(
        MakeRoute(connection, found == destinations.end() ? nullptr : found->second, types));
  }
}

const std::vector<Route>* FanOut::Routes(std::string_view source_id) const {
  const auto found = routes_.find(source_id);
  return found == routes_.end() ? nullptr : &found->second;
}

Integrations::Integrations(std::string_view raw) {
  if (raw.empty() || raw == "{}" || raw == "null" || raw == R"({"All":true})") return;
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag>(raw.data(), raw.size());
  if (document.HasParseError() || !document.IsObject()) return;
  for (const auto& member : document.GetObject()) {
    const std::string_view name(member.name.GetString(), member.name.GetStringLength());
    const bool on = !member.value.IsFalse();
    if (name == "All" || name == "all") {
      all_ = on;
      bad_all_ = !member.value.IsBool();
    } else {
      named_[std::string(name)] = on;
    }
  }
}

bool Integrations::Allows(const Route& route) const {
  if (named_.empty()) return all_;
  for (const std::string& name : route.names) {
    if (const auto found = named_.find(name); found != named_.end()) return found->second;
  }
  return all_;
}

std::string_view WhyNot(const Route& route, event::v1::EventType type,
                        const Integrations& integrations) {
  if (!route.closed.empty()) return route.closed;
  const auto& types = route.types;
  if (!types.empty() && std::find(types.begin(), types.end(), type) == types.end()) {
    return "message_type_not_supported";
  }
  return integrations.Allows(route) ? "" : "integrations_object";
}

}  // namespace millrace::processor
