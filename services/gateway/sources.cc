#include "services/gateway/sources.h"

#include <utility>

namespace millrace::gateway {

Sources::Sources(config::ConfigSource& config, telemetry::Metrics& metrics) : metrics_(metrics) {
  subscription_ = config.Subscribe([this](const config::WorkspacePtr& workspace) {
    if (workspace != nullptr) Update(*workspace);
  });
}

void Sources::Update(const config::v1::Workspace& workspace) {
  auto state = std::make_shared<State>();
  state->ready = true;
  StringMap<std::vector<std::string>> destinations;
  for (const auto& connection : workspace.connections()) {
    if (!connection.enabled()) continue;
    destinations[connection.source_id()].push_back(connection.destination_id());
  }
  StringSet gone = std::exchange(known_, {});
  for (const auto& source : workspace.sources()) {
    const telemetry::Labels labels = {{"source", source.id()}};
    const auto entry = std::make_shared<const SourceEntry>(SourceEntry{
        .id = source.id(),
        .name = source.name(),
        .workspace_id = workspace.id(),
        .enabled = source.enabled(),
        .destinations = destinations[source.id()],
        .accepted = &metrics_.GetCounter("millrace_gateway_events_accepted_total",
                                         "Events acknowledged to their sender.", labels),
        .rejected = &metrics_.GetCounter("millrace_gateway_events_rejected_total",
                                         "Events that can never be delivered.", labels),
        .repaired = &metrics_.GetCounter("millrace_gateway_events_repaired_total",
                                         "Events whose JSON was mended.", labels),
        .bytes = &metrics_.GetCounter("millrace_gateway_body_bytes_total",
                                      "Bytes of request bodies after decompression.", labels),
    });
    for (const std::string& key : source.write_keys()) {
      if (!key.empty()) state->by_key[key] = entry;
    }
  }
  for (const auto& source : workspace.sources()) {
    gone.erase(source.id());
    known_.insert(source.id());
  }
  for (const std::string& id : gone) metrics_.Remove({{"source", id}});
  state_.Set(std::move(state));
}

bool Sources::Ready() const {
  return state_.Get()->ready;
}

std::shared_ptr<const SourceEntry> Sources::Find(std::string_view write_key) const {
  const auto state = state_.Get();
  const auto found = state->by_key.find(write_key);
  return found == state->by_key.end() ? nullptr : found->second;
}

}  // namespace millrace::gateway
