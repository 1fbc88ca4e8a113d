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
  route.routing_keys.assign(definition->routing_keys().begin(), definition->routing_keys().end());
  return route;
}

}  // namespace

FanOut::FanOut(config::WorkspacePtr workspace, const DestinationTypes& types,
               transformation::TransformerFactory* transformers)
    : workspace_(std::move(workspace)) {
  ChainMaker chains(*workspace_, transformers);
  StringMap<const config::v1::Destination*> destinations;
  StringMap<const config::v1::Source*> sources;
  for (const auto& destination : workspace_->destinations()) {
    destinations[destination.id()] = &destination;
    if (destination.enabled()) destination_ids_.push_back(destination.id());
  }
  for (const auto& source : workspace_->sources()) {
    sources[source.id()] = &source;
    SourceRoutes& routes = sources_[source.id()];
    if (auto chain = chains.Make(source.transformations())) {
      routes.chain = Bind(std::move(chain), *workspace_, source, nullptr);
    }
  }
  for (const auto& connection : workspace_->connections()) {
    const auto source = sources_.find(connection.source_id());
    if (source == sources_.end()) continue;
    const auto found = destinations.find(connection.destination_id());
    const auto* destination = found == destinations.end() ? nullptr : found->second;
    Route& route = source->second.routes.emplace_back(MakeRoute(connection, destination, types));
    if (!route.closed.empty()) continue;
    for (const std::string& key : route.routing_keys) {
      if (std::find(routing_keys_.begin(), routing_keys_.end(), key) == routing_keys_.end()) {
        routing_keys_.push_back(key);
      }
    }
    ++source->second.open_routes;
    if (auto chain = chains.Make(connection.transformations(), destination->transformations())) {
      route.group =
          GroupOf(std::move(chain), *sources[source->first], *destination, source->second);
    }
  }
  passing_fault_ = chains.passing_fault();
}

int FanOut::GroupOf(std::shared_ptr<const Chain> chain, const config::v1::Source& source,
                    const config::v1::Destination& destination, SourceRoutes& routes) const {
  auto& groups = routes.groups;
  if (!chain->reads_metadata) {
    for (size_t i = 0; i < groups.size(); ++i) {
      if (groups[i].chain->key == chain->key) return static_cast<int>(i);
    }
  }
  const auto* told = chain->reads_metadata ? &destination : nullptr;
  groups.push_back(Bind(std::move(chain), *workspace_, source, told));
  return static_cast<int>(groups.size()) - 1;
}

const SourceRoutes* FanOut::Source(std::string_view source_id) const {
  const auto found = sources_.find(source_id);
  return found == sources_.end() ? nullptr : &found->second;
}

const std::vector<Route>* FanOut::Routes(std::string_view source_id) const {
  const auto* source = Source(source_id);
  return source == nullptr ? nullptr : &source->routes;
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

bool TakesType(const Route& route, event::v1::EventType type) {
  return route.types.empty() ||
         std::find(route.types.begin(), route.types.end(), type) != route.types.end();
}

std::string_view WhyNot(const Route& route, event::v1::EventType type,
                        const Integrations& integrations) {
  if (!route.closed.empty()) return route.closed;
  if (!TakesType(route, type)) return "message_type_not_supported";
  return integrations.Allows(route) ? "" : "integrations_object";
}

}  // namespace millrace::processor
