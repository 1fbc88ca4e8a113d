#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libs/warehouse/column_names.h"
#include "libs/warehouse/types.h"

namespace millrace::warehouse {

/// How the events of one destination become rows.
struct RowOptions {
  NameRules names;
  std::string destination_id;
  std::string
      destination_type;  // e.g. POSTGRES; integrations.<type>.options may refine the options
  bool users_context_traits = false;  // context.traits become columns of identifies and users too
  bool skip_tracks_table = false;
  bool skip_users_table = false;
  bool store_full_event = false;
  /// "track.properties.location", or "location" for properties of track events.
  std::vector<std::string> json_paths;
  size_t max_columns = 200;  // that properties, traits or context of one event may make
};

/// An event and what the log knows of it.
struct EventInput {
  std::string_view json;
  std::string_view source_id;
  std::string_view source_type;
  std::string_view source_category;
  std::string_view message_id;   // for events without one
  std::string_view received_at;  // for events without one; ISO 8601
};

struct EventRows {
  std::span<const Row> rows;
  /// Not empty: the event can never be loaded; there are no rows then.
  std::string error;
};

/// Turns events into rows of RudderStack's tables: tracks and one table per event name, identifies,
/// users, pages, screens, groups and aliases.
///
/// One thread. What Build returns lives until the next Build.
class RowBuilder {
 public:
  explicit RowBuilder(RowOptions options);
  ~RowBuilder();
  RowBuilder(const RowBuilder&) = delete;
  RowBuilder& operator=(const RowBuilder&) = delete;

  EventRows Build(const EventInput& input);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace::warehouse
