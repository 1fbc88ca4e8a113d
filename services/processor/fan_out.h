#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/string_map.h"
#include "libs/config/config_source.h"
#include "millrace/destination/v1/definition.pb.h"
#include "millrace/event/v1/event.pb.h"
#include "services/processor/chain.h"

namespace millrace::processor {

/// Definitions of destination types by type name; null for an unknown type.
using DestinationTypes = std::function<const destination::v1::Definition*(std::string_view type)>;

/// One connection of a source, ready to be asked.
struct Route {
  std::string destination_id;
  std::string topic;
  std::vector<std::string> names;           // by which an integrations object may call it
  std::vector<event::v1::EventType> types;  // that it takes; empty = all
  std::vector<std::string> routing_keys;    // of its definition
  std::string closed;  // why nothing goes there (disabled, unknown type); empty = open
  int group = -1;      // of SourceRoutes::groups, whose chain comes before; -1: none
};

/// What becomes of a source's events.
struct SourceRoutes {
  BoundChain chain;  // before fan-out; `chain.chain` is null when there is none
  std::vector<Route> routes;
  size_t open_routes = 0;  // of `routes`, those that something may go to
  /// Chains of the routes: the connection's transformations, then the destination's. Routes with
  /// the same chain share a group, unless it may ask which destination it runs for.
  std::vector<BoundChain> groups;
};

/// The sources and connections of one configuration snapshot, with their transformations loaded.
/// Immutable.
class FanOut {
 public:
  /// Takes the time that the transformations need to load. `transformers` null: none can run.
  FanOut(config::WorkspacePtr workspace, const DestinationTypes& types,
         transformation::TransformerFactory* transformers = nullptr);

  /// Null when the source is not (or no longer) there.
  const SourceRoutes* Source(std::string_view source_id) const;
  const std::vector<Route>* Routes(std::string_view source_id) const;
  /// Ids of every destination that events may be emitted to.
  const std::vector<std::string>& destination_ids() const { return destination_ids_; }
  const config::v1::Workspace& workspace() const { return *workspace_; }
  /// Of all open routes.
  const std::vector<std::string>& routing_keys() const { return routing_keys_; }
  /// Whether making it anew may load what could not be loaded.
  bool passing_fault() const { return passing_fault_; }

 private:
  int GroupOf(std::shared_ptr<const Chain> chain, const config::v1::Source& source,
              const config::v1::Destination& destination, SourceRoutes& routes) const;

  config::WorkspacePtr workspace_;
  StringMap<SourceRoutes> sources_;
  std::vector<std::string> destination_ids_;
  std::vector<std::string> routing_keys_;
  bool passing_fault_ = false;
};

/// What an event's integrations object (raw JSON, may be empty) says: default All true; a
/// destination's own entry wins over All; an object counts as true; an `All` that is no boolean
/// counts as true.
class Integrations {
 public:
  explicit Integrations(std::string_view raw);
  bool Allows(const Route& route) const;
  /// Whether it holds an `All` that is no boolean.
  bool bad_all() const { return bad_all_; }

 private:
  bool bad_all_ = false;
  bool all_ = true;
  StringMap<bool> named_;
};

/// Whether `route` takes events of this type.
bool TakesType(const Route& route, event::v1::EventType type);

/// Why `route` does not take an event of this type, or "".
std::string_view WhyNot(const Route& route, event::v1::EventType type,
                        const Integrations& integrations);

}  // namespace millrace::processor
