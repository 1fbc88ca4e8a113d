#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/string_map.h"
#include "libs/config/config_source.h"
#include "millrace/destination/v1/definition.pb.h"
#include "millrace/event/v1/event.pb.h"

namespace millrace::processor {

/// Definitions of destination types by type name; null for an unknown type.
using DestinationTypes = std::function<const destination::v1::Definition*(std::string_view type)>;

/// One connection of a source, ready to be asked.
struct Route {
  std::string destination_id;
  std::string topic;
  std::vector<std::string> names;  // by which an integrations object may call it
  std::vector<event::v1::EventType> types;  // that it takes; empty = all
  std::string closed;  // why nothing goes there (disabled, unknown type); empty = open
};

/// The connections of one configuration snapshot, by source. Immutable.
class FanOut {
 public:
  FanOut(config::WorkspacePtr workspace, const DestinationTypes& types);

  /// Null when the source is not (or no longer) there.
  const std::vector<Route>* Routes(std::string_view source_id) const;
  /// Ids of every destination that events may be emitted to.
  const std::vector<std::string>& destination_ids() const { return destination_ids_; }
  const config::v1::Workspace& workspace() const { return *workspace_; }

 private:
  config::WorkspacePtr workspace_;
  StringMap<std::vector<Route>> routes_;
  std::vector<std::string> destination_ids_;
};

/// What an event's integrations object (raw JSON, may be empty) says: default All true; a destination's
/// own entry wins over All; an object counts as true; an `All` that is no boolean counts as true.
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

/// Why `route` does not take an event of this type, or "".
std::string_view WhyNot(const Route& route, event::v1::EventType type,
                        const Integrations& integrations);

}  // namespace millrace::processor
