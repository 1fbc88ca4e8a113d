#include "libs/warehouse/rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "libs/json/writer.h"
#include "libs/warehouse/event_document.h"
#include "libs/warehouse/flatten.h"
#include "libs/warehouse/values.h"

namespace millrace::warehouse {
namespace {

using simdjson::dom::element;
using simdjson::dom::object;

constexpr int kCloudSourceLevels = 3;

}  // namespace

struct RowBuilder::Impl {
  explicit Impl(RowOptions given) : options(std::move(given)), columns(options.names) {
    for (const std::string& path : options.json_paths) {
      AddJsonPath(path, &defaults.json_paths);
    }
    defaults.skip_tracks = options.skip_tracks_table;
    defaults.skip_users = options.skip_users_table;
  }

  // --- reading

  void FlattenInto(object from, std::string_view prefix, std::string_view path, CellSet& cells) {
    Flatten(from, prefix, path, rules, columns, arena, cells, discards);
  }

  void FlattenSection(std::string_view key, CellSet& cells) {
    object section;
    if (!GetObject(event, key, &section)) return;
    std::string path;
    if (rules.json_paths != nullptr) path = fmt::format("{}.{}", type, key);
    FlattenInto(section, "", path, cells);
    largest = std::max(largest, cells.size());
  }

  // --- rules: columns that are Millrace's own; what an event puts there itself is dropped

  bool Rule(std::string_view column, element value, CellSet& cells) {
    DataType value_type{};
    std::string_view text;
    Column* target = columns.ForName(column);
    if (value.is_object() || value.is_array() || !ReadValue(value, arena, &value_type, &text)) {
      cells.Remove(target);
      return false;
    }
    cells.Set(target, value_type, text);
    return true;
  }

  bool Rule(std::string_view column, object from, std::string_view key, CellSet& cells) {
    element value;
    if (from.at_key(key).get(value) == simdjson::SUCCESS) return Rule(column, value, cells);
    cells.Remove(columns.ForName(column));
    return false;
  }

  void RuleText(std::string_view column, std::string_view text, CellSet& cells) {
    Column* target = columns.ForName(column);
    if (text.empty()) return cells.Remove(target);
    cells.Set(target, DataType::kString, text);
  }

  void ReceivedAt(CellSet& cells) {
    if (!Rule("received_at", event, "receivedAt", cells)) {
      cells.Set(columns.ForName("received_at"), DataType::kDatetime, input->received_at);
    }
  }

  void Times(CellSet& cells) {
    Rule("sent_at", event, "sentAt", cells);
    Rule("timestamp", event, "timestamp", cells);
    Rule("original_timestamp", event, "originalTimestamp", cells);
    ReceivedAt(cells);
  }

  void Ids(CellSet& cells) {
    if (!Rule("id", event, "messageId", cells)) RuleText("id", input->message_id, cells);
    Rule("anonymous_id", event, "anonymousId", cells);
    Rule("user_id", event, "userId", cells);
  }

  void ContextRules(CellSet& cells) {
    object context;
    const bool has_context = GetObject(event, "context", &context);
    if (has_context) {
      Rule("context_passed_ip", context, "ip", cells);
    } else {
      cells.Remove(columns.ForName("context_passed_ip"));
    }
    Rule("context_request_ip", event, "request_ip", cells);
    if (!has_context || !Rule("context_ip", context, "ip", cells)) {
      Rule("context_ip", event, "request_ip", cells);
    }
  }

  /// The context's keys, and where the event came from and goes to.
  void Context(CellSet& cells) {
    object context;
    if (GetObject(event, "context", &context)) {
      std::string path;
      if (rules.json_paths != nullptr) path = fmt::format("{}.context", type);
      const size_t before = cells.size();
      FlattenInto(context, "context_", path, cells);
      largest = std::max(largest, cells.size() - before);
    }
    for (const auto& [column, text] :
         {std::pair{"context_source_id", input->source_id},
          std::pair{"context_source_type", input->source_type},
          std::pair{"context_destination_id", std::string_view(options.destination_id)},
          std::pair{"context_destination_type", std::string_view(options.destination_type)}}) {
      if (!text.empty()) RuleText(column, text, cells);
    }
  }

  void Common(CellSet& cells) {
    Context(cells);
    Ids(cells);
    Times(cells);
    Rule("channel", event, "channel", cells);
    ContextRules(cells);
  }

  /// The event as it is, with what Context adds.
  void FullEvent(CellSet& cells) {
    if (!options.store_full_event) return;
    const std::pair<std::string_view, std::string_view> added[] = {
        {"sourceId", input->source_id},
        {"sourceType", input->source_type},
        {"destinationId", options.destination_id},
        {"destinationType", options.destination_type}};
    json::ObjectWriter context;
    object own_context;
    if (GetObject(event, "context", &own_context)) {
      for (const auto field : own_context) {
        const bool ours = std::ranges::any_of(
            added, [&](const auto& one) { return one.first == field.key && !one.second.empty(); });
        if (!ours) context.Raw(field.key, JsonText(field.value, arena));
      }
    }
    for (const auto& [key, text] : added) {
      if (!text.empty()) context.Text(key, text);
    }
    json::ObjectWriter json;
    for (const auto field : event) {
      if (field.key != "context") json.Raw(field.key, JsonText(field.value, arena));
    }
    json.Raw("context", context.Take());  // also in the place of one that is no object
    std::string text = json.Take();
    if (text.find("\\u0000") != std::string::npos) text = WithoutEscapedNul(text);  // of keys
    cells.Set(columns.ForName("rudder_event"), DataType::kJson, arena.Keep(std::move(text)));
  }

  // --- rows

  void AddRow(std::string_view table, const CellSet& cells) {
    if (row_count == rows.size()) rows.emplace_back();
    Row& row = rows[row_count++];
    row.table = table;
    row.cells.clear();
    row.discards.clear();
    for (const CellSet::Entry& entry : cells.entries()) {
      if (entry.column != nullptr)
        row.cells.push_back({entry.column->name, entry.text, entry.type});
    }
  }

  /// Properties of the event's own, then `common` over them.
  void Merge(const CellSet& common, CellSet& cells) {
    for (const CellSet::Entry& entry : common.entries()) {
      if (entry.column != nullptr) cells.Set(entry.column, entry.type, entry.text);
    }
  }

  /// Events of newer cloud sources carry the id of the source's record; it takes the message id's
  /// place.
  bool RecordId(CellSet& cells, std::string* error) {
    object context;
    object sources;
    element version;
    if (!cloud || !GetObject(event, "context", &context) ||
        !GetObject(context, "sources", &sources) ||
        sources.at_key("version").get(version) != simdjson::SUCCESS || version.is_null()) {
      return true;
    }
    if (Rule("id", event, "recordId", cells)) return true;
    *error = "recordId cannot be empty in an event of a cloud source";
    return false;
  }

  bool Track(std::string* error) {
    const std::string_view name = GetText(event, "event");
    const std::string_view event_name = arena.Keep(SnakeCase(name, options.names.divide_numbers));
    first.Clear();
    Common(first);
    if (!RecordId(first, error)) return false;
    RuleText("event_text", name, first);
    first.Set(columns.ForName("event"), DataType::kString, event_name);
    const bool has_table = !event_name.empty();
    if (has_table) {
      second.Clear();
      FlattenSection("properties", second);
      FlattenSection("userProperties", second);
      DropOwn(second);
      second.Remove(columns.ForName("event"));
      second.Remove(columns.ForName("event_text"));
      Merge(first, second);
    }
    if (!event_options.skip_tracks) {
      third.Clear();
      Merge(first, third);
      FullEvent(third);
      AddRow("tracks", third);
    }
    if (has_table) {
      AddRow(arena.Keep(TableName(event_name, options.names, event_options.skip_escaping)), second);
    }
    AttachDiscards();
    return true;
  }

  /// Millrace's own columns: users may not fill them, also when this event has no value for them.
  void DropOwn(CellSet& cells) {
    for (const std::string_view name :
         {"id", "anonymous_id", "user_id", "sent_at", "timestamp", "received_at",
          "original_timestamp", "channel", "context_ip", "context_request_ip", "context_passed_ip",
          "uuid_ts"}) {
      cells.Remove(columns.ForName(name));
    }
  }

  void Traits(CellSet& cells) {
    FlattenSection("userProperties", cells);
    object context;
    object traits;
    if (options.users_context_traits && GetObject(event, "context", &context) &&
        GetObject(context, "traits", &traits)) {
      std::string spread;
      if (!IsSpreadText(traits, &spread)) FlattenInto(traits, "", "identify.context.traits", cells);
    }
    FlattenSection("traits", cells);
    DropOwn(cells);
    Context(cells);
  }

  void Identify() {
    first.Clear();
    Traits(first);
    Ids(first);
    Times(first);
    Rule("channel", event, "channel", first);
    ContextRules(first);
    FullEvent(first);
    AddRow("identifies", first);
    AttachDiscards();
    DataType user_type{};
    std::string_view user;
    element id;
    if (event_options.skip_users || event.at_key("userId").get(id) != simdjson::SUCCESS ||
        id.is_array() || !ReadValue(id, arena, &user_type, &user) ||
        user.find_first_not_of(" \t\n\r") == std::string_view::npos) {
      return;
    }
    second.Clear();
    Traits(second);
    discards.clear();  // the same as of identifies
    Times(second);
    ContextRules(second);
    second.Set(columns.ForName("id"), user_type, user);
    AddRow("users", second);
  }

  /// Pages, screens, groups and aliases: one row of `section`'s keys, the context's and `column`.
  void One(std::string_view table, std::string_view section, std::string_view column,
           std::string_view key) {
    first.Clear();
    object traits;
    std::string spread;
    if (!GetObject(event, section, &traits) || !IsSpreadText(traits, &spread) ||
        section == "properties") {
      FlattenSection(section, first);
    }
    DropOwn(first);
    Common(first);
    object properties;
    if (!Rule(column, event, key, first) && section == "properties" &&
        GetObject(event, "properties", &properties)) {
      Rule(column, properties, key, first);
    }
    FullEvent(first);
    AddRow(table, first);
    AttachDiscards();
  }

  /// A record of a cloud source.
  bool Extract(std::string* error) {
    const std::string_view name = GetText(event, "event");
    const std::string_view event_name = arena.Keep(SnakeCase(name, options.names.divide_numbers));
    if (event_name.empty()) {
      *error = "an extract event needs an event name: it names the table";
      return false;
    }
    first.Clear();
    FlattenSection("properties", first);
    Context(first);
    if (!Rule("id", event, "recordId", first)) RuleText("id", input->message_id, first);
    ReceivedAt(first);
    RuleText("event", name, first);
    AddRow(arena.Keep(TableName(event_name, options.names, event_options.skip_escaping)), first);
    AttachDiscards();
    return true;
  }

  void AttachDiscards() {
    if (row_count > 0 && !discards.empty()) rows[row_count - 1].discards.swap(discards);
    discards.clear();
  }

  bool BuildRows(std::string* error) {
    if (type == "track") return Track(error);
    if (type == "identify") {
      Identify();
    } else if (type == "page") {
      One("pages", "properties", "name", "name");
    } else if (type == "screen") {
      One("screens", "properties", "name", "name");
    } else if (type == "group") {
      One("groups", "traits", "group_id", "groupId");
    } else if (type == "alias") {
      One("aliases", "traits", "previous_id", "previousId");
    } else if (type == "extract") {
      return Extract(error);
    } else if (type != "merge") {  // identity merges have no table here
      *error = fmt::format("unknown event type \"{}\"", type);
      return false;
    }
    return true;
  }

  const RowOptions options;
  EventOptions defaults;
  simdjson::dom::parser parser;
  ColumnCache columns;
  Arena arena;
  CellSet first;
  CellSet second;
  CellSet third;
  std::vector<Discard> discards;
  std::vector<Row> rows;
  size_t row_count = 0;
  size_t largest = 0;
  // Of the event in work.
  const EventInput* input = nullptr;
  object event;
  std::string_view type;
  EventOptions event_options;
  FlattenRules rules;
  bool cloud = false;
};

RowBuilder::RowBuilder(RowOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
RowBuilder::~RowBuilder() = default;

EventRows RowBuilder::Build(const EventInput& input) {
  Impl& impl = *impl_;
  impl.columns.Trim();
  impl.arena.Clear();
  impl.discards.clear();
  impl.row_count = 0;
  impl.largest = 0;
  impl.input = &input;
  EventRows result;
  if (!ParseEvent(input.json, impl.parser, &impl.event, &result.error)) return result;
  impl.type = GetText(impl.event, "type");
  impl.event_options = ReadEventOptions(impl.event, impl.options.destination_type, impl.defaults);
  impl.cloud = input.source_category == "cloud" || input.source_category == "singer-protocol";
  impl.rules = {.skip_escaping = impl.event_options.skip_escaping};
  if (impl.cloud) impl.rules.max_level = kCloudSourceLevels;
  if (!impl.event_options.json_paths.empty())
    impl.rules.json_paths = &impl.event_options.json_paths;
  if (!impl.BuildRows(&result.error)) return result;
  const bool limited = !impl.cloud && GetText(impl.event, "channel") != "sources";
  if (limited && impl.largest > impl.options.max_columns) {
    result.error = fmt::format("the event makes {} columns of one object, the limit is {}",
                               impl.largest, impl.options.max_columns);
    return result;
  }
  result.rows = std::span<const Row>(impl.rows.data(), impl.row_count);
  return result;
}

}  // namespace millrace::warehouse
