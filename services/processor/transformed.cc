#include "services/processor/transformed.h"

#include <fmt/format.h>

#include <utility>

#include "libs/base/string_map.h"
#include "libs/base/text.h"

namespace millrace::processor {
namespace {

using transformation::Output;

// What a log takes as one record, with what goes beside it.
constexpr size_t kMaxEventBytes = 950'000;
constexpr size_t kMaxEventsOfOutput = 1'000;
constexpr size_t kMaxEventsOfRecord = 10'000;
constexpr size_t kMaxIdBytes = 1'024;
constexpr size_t kReasonBytes = 1'000;
constexpr size_t kStackBytes = 8 << 10;

/// Whether a raw JSON string is `text`, for text without escapes.
bool Spells(std::string_view raw, std::string_view text) {
  return raw.size() == text.size() + 2 && raw.front() == '"' &&
         raw.substr(1, text.size()) == text && text.find('\\') == std::string_view::npos;
}

void SetId(Event& event, std::string id) {
  event.bytes = Bytes(event::SetFields(event.bytes.view(), {{"messageId", event::QuoteJson(id)}}));
  (void)event::ScanFields(event.bytes.view(), &event.fields);
  event.meta.set_message_id(std::move(id));
}

/// Takes over the new bytes, and reads again what may have changed with them.
void SetBytes(Event& event, Bytes bytes, const event::EventFields& fields) {
  if (event.accepted.empty()) event.accepted = event.bytes;
  event.bytes = std::move(bytes);
  event.fields = fields;
  const std::string_view type = fields.type;
  if (!Spells(type, event::EventTypeName(event.meta.type()))) {
    event.meta.set_type(event::ParseEventType(event::DecodeText(type)));
  }
  if (Spells(fields.message_id, event.meta.message_id())) return;
  std::string id = event::DecodeText(fields.message_id);
  if (id.empty() || id.size() > kMaxIdBytes)
    SetId(event, event.meta.message_id());
  else
    event.meta.set_message_id(std::move(id));
}

/// What is wrong with an output, or "".
std::string Check(const Output& output, size_t made, std::vector<event::EventFields>& fields) {
  if (output.events.size() > kMaxEventsOfOutput) {
    return fmt::format("it made {} events out of one; at most {}", output.events.size(),
                       kMaxEventsOfOutput);
  }
  if (made + output.events.size() > kMaxEventsOfRecord) {
    return fmt::format("the chain made more than {} events out of one", kMaxEventsOfRecord);
  }
  fields.resize(output.events.size());
  for (size_t i = 0; i < output.events.size(); ++i) {
    const std::string_view bytes = output.events[i].view();
    if (bytes.size() > kMaxEventBytes) {
      return fmt::format("it made an event of {} bytes; at most {}", bytes.size(), kMaxEventBytes);
    }
    if (!event::ScanFields(bytes, &fields[i]).ok())
      return "it made an event that is not a JSON object";
  }
  return {};
}

}  // namespace

void FailAtStep(const ChainStep& step, size_t steps_before, const Output& output, uint32_t attempts,
                Event& event) {
  const bool engine = output.again || output.error_class == "engine";
  event.error_class = engine ? "engine" : "transformation";
  const std::string version = step.number > 0 ? fmt::format(" version {}", step.number) : "";
  event.DeadLetter("transformation_" + (output.error_class.empty() ? "thrown" : output.error_class),
                   std::string(ClipText(
                       fmt::format("transformation '{}'{}: {}", step.name, version, output.error),
                       kReasonBytes)));
  event.stack = ClipText(output.stack, kStackBytes);
  event.attempts = attempts;
  event.failed_step = step.transformation_id;
  event.failed_at = static_cast<uint32_t>(steps_before);
}

void ApplyOutput(const ChainStep& step, size_t steps_before, Output output, uint32_t attempts,
                 size_t made, Event event, std::vector<Event>& results) {
  std::vector<event::EventFields> fields;
  if (output.error.empty()) {
    output.error = Check(output, made, fields);
    if (!output.error.empty()) output.error_class = "invalid_result";
  }
  if (!output.error.empty()) {
    FailAtStep(step, steps_before, output, attempts, event);
    results.push_back(std::move(event));
    return;
  }
  event.versions.push_back(step.version_id);
  if (output.events.empty()) {
    event.state = EventState::kDropped;
    event.reason = step.transformation_id;
    results.push_back(std::move(event));
    return;
  }
  for (size_t i = 1; i < output.events.size(); ++i) {
    if (i == 1) results.push_back(event);  // its place; filled below
    Event& extra = results.emplace_back(event);
    extra.extra = true;
    SetBytes(extra, std::move(output.events[i]), fields[i]);
  }
  SetBytes(event, std::move(output.events[0]), fields[0]);
  if (output.events.size() == 1)
    results.push_back(std::move(event));
  else
    results[results.size() - output.events.size()] = std::move(event);
}

void MakeDistinct(std::vector<Event>& events, size_t begin) {
  StringSet ids;
  uint32_t index = 0;
  uint32_t next = 2;
  std::string root;
  for (size_t i = begin; i < events.size(); ++i) {
    Event& event = events[i];
    if (!event.live()) continue;
    event.index = index++;
    if (root.empty()) root = event.meta.message_id();
    std::string id = event.meta.message_id();
    if (!ids.contains(id)) {
      ids.insert(std::move(id));
      continue;
    }
    do {
      id = fmt::format("{}-{}", root, next++);
    } while (ids.contains(id));
    ids.insert(id);
    SetId(event, std::move(id));
  }
}

}  // namespace millrace::processor
