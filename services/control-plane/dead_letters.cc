#include "services/control-plane/dead_letters.h"

#include <nlohmann/json.hpp>

#include <algorithm>

#include "libs/base/string_map.h"
#include "millrace/event/v1/event.pb.h"
#include "services/control-plane/event_json.h"

namespace millrace::control_plane {
namespace {

using Json = nlohmann::json;
using delivery::v1::DeadLetter;

constexpr size_t kBatch = 200;   // letters of one transaction
constexpr int64_t kPage = 2000;  // ids that are looked up at once

Json LetterJson(const DeadLetterRow& row, bool whole) {
  const DeadLetter& letter = row.letter;
  Json json = {{"id", letter.id()},
               {"state", row.state},
               {"stage", letter.stage()},
               {"reason", letter.reason()},
               {"class", letter.error_class()},
               {"source", letter.source_id()},
               {"destination", letter.destination_id()},
               {"messageId", letter.message_id()},
               {"attempts", letter.attempts()},
               {"failedAt", FormatRfc3339Millis(letter.failed_at_us())}};
  if (!whole) return json;
  json["event"] = EventToJson(letter.event());
  if (!letter.stack().empty()) json["stack"] = letter.stack();
  const auto& versions = letter.has_ingest() ? letter.ingest().redrive().transformation_versions()
                                             : letter.delivery().transformation_versions();
  if (!versions.empty())
    json["transformationVersions"] = std::vector<std::string>(versions.begin(), versions.end());
  if (letter.has_last_exchange()) {
    const auto& exchange = letter.last_exchange();
    json["request"] = {
        {"method", exchange.method()}, {"url", exchange.url()}, {"body", exchange.request_body()}};
    json["answer"] = {{"status", exchange.status()},
                      {"body", exchange.response_body()},
                      {"error", exchange.error()}};
  }
  return json;
}

/// Why a letter cannot be sent again, or "".
std::string WhyNot(const DeadLetter& letter, const StringSet& destinations) {
  // Later stages rely on the gateway's checks, so what it refused never goes past it.
  if (letter.stage() == "gateway") {
    return "the gateway refused the event; send it again, mended, to the gateway";
  }
  if (!letter.destination_id().empty() && !destinations.contains(letter.destination_id())) {
    return "destination '" + letter.destination_id() + "' was deleted";
  }
  return {};
}

/// A member as the gateway reads it: a number is its own text.
std::string TextOf(const Json& event, const char* member) {
  const auto found = event.is_object() ? event.find(member) : event.end();
  if (!event.is_object() || found == event.end()) return {};
  if (found->is_string()) return found->get<std::string>();
  return found->is_number() ? found->dump() : std::string();
}

std::string MetaOf(const DeadLetter& letter) {
  if (letter.has_ingest()) return letter.ingest().SerializeAsString();
  if (!letter.destination_id().empty()) {
    delivery::v1::DeliveryMeta meta = letter.delivery();
    meta.set_redrives(meta.redrives() + 1);
    return meta.SerializeAsString();
  }
  event::v1::EventMeta meta;
  meta.set_workspace_id(letter.workspace_id());
  meta.set_source_id(letter.source_id());
  meta.set_message_id(letter.message_id());
  meta.set_type(letter.type());
  meta.set_received_at_us(letter.received_at_us());
  // The ids that the gateway took from the event: what is made of a user follows from them.
  const Json event = EventToJson(letter.event());
  meta.set_user_id(TextOf(event, "userId"));
  meta.set_anonymous_id(TextOf(event, "anonymousId"));
  return meta.SerializeAsString();
}

}  // namespace

StatusOr<Json> DeadLetters::List(const std::string& destination_id,
                                 const std::vector<std::string>& ids, int64_t limit) {
  MR_ASSIGN_OR_RETURN(const auto rows, store_.DeadLetters(destination_id, ids, limit));
  Json list = Json::array();
  for (const DeadLetterRow& row : rows) list.push_back(LetterJson(row, !ids.empty()));
  return list;
}

StatusOr<RedriveResult> DeadLetters::Redrive(const config::v1::Workspace& workspace,
                                             const std::string& destination_id,
                                             const std::vector<std::string>& ids) {
  // What an earlier call sent again is marked by what the reader finds in the log.
  if (!reader_.CatchUp(std::chrono::milliseconds(5000))) {
    return MakeStatus(StatusCode::kUnavailable,
                      "the dead letters are not read up to now; try again in a moment");
  }
  RedriveResult result;
  if (!ids.empty()) {
    MR_RETURN_IF_ERROR(RedriveThese(workspace, destination_id, ids, &result));
  } else {
    MR_RETURN_IF_ERROR(RedriveAll(workspace, destination_id, &result));
  }
  (void)reader_.CatchUp(std::chrono::milliseconds(2000));  // so that the next look shows the marks
  return result;
}

Status DeadLetters::RedriveAll(const config::v1::Workspace& workspace,
                               const std::string& destination_id, RedriveResult* result) {
  std::string after;
  const auto deadline = std::chrono::steady_clock::now() + kMaxTime;
  while (result->redriven < kMaxRedriven && std::chrono::steady_clock::now() < deadline) {
    MR_ASSIGN_OR_RETURN(const auto ids, store_.DeadLetterIds(destination_id, kPage, after));
    if (ids.empty()) return OkStatus();
    // Those that cannot be sent stay where they are; the next page begins after them.
    after = ids.back();
    MR_RETURN_IF_ERROR(RedriveThese(workspace, destination_id, ids, result));
  }
  MR_ASSIGN_OR_RETURN(const auto rest, store_.DeadLetterIds(destination_id, 1, after));
  result->more = !rest.empty();
  return OkStatus();
}

Status DeadLetters::RedriveThese(const config::v1::Workspace& workspace,
                                 const std::string& destination_id,
                                 const std::vector<std::string>& ids, RedriveResult* result) {
  StringSet destinations;
  for (const auto& destination : workspace.destinations()) destinations.insert(destination.id());
  for (size_t done = 0; done < ids.size(); done += kBatch) {
    const auto begin = ids.begin() + static_cast<std::ptrdiff_t>(done);
    const auto end = ids.begin() + static_cast<std::ptrdiff_t>(std::min(ids.size(), done + kBatch));
    MR_ASSIGN_OR_RETURN(auto rows, store_.DeadLetters(destination_id, {begin, end}, kBatch));
    const auto missing = std::distance(begin, end) - static_cast<std::ptrdiff_t>(rows.size());
    if (missing > 0) {
      result->skipped += missing;
      result->skipped_reason =
          "there is no such letter, or it was purged: letters are kept for a time, up to a number "
          "and "
          "a size (control_plane.dead_letter_max_age_s, _max_count, _max_bytes)";
    }
    std::vector<DeadLetter> letters;
    // Oldest first, so that a user's events keep their order.
    for (auto row = rows.rbegin(); row != rows.rend(); ++row) {
      if (row->state != "dead") continue;
      std::string why = WhyNot(row->letter, destinations);
      if (why.empty()) {
        letters.push_back(std::move(row->letter));
      } else {
        ++result->skipped;
        result->skipped_reason = std::move(why);
      }
    }
    MR_RETURN_IF_ERROR(Send(letters));
    result->redriven += static_cast<int64_t>(letters.size());
  }
  return OkStatus();
}

Status DeadLetters::Send(const std::vector<DeadLetter>& letters) {
  if (letters.empty()) return OkStatus();
  struct Owned {
    std::string topic, meta, mark;
  };
  std::vector<Owned> owned;
  owned.reserve(letters.size());
  std::vector<event_log::TopicRecord> records;
  accounting::v1::Counters counters;
  counters.set_stage("control-plane");
  counters.set_at_us(clock_.NowMicros());
  for (const DeadLetter& letter : letters) {
    DeadLetter mark;
    mark.set_id(letter.id());
    mark.set_redriven(true);
    const Owned& kept = owned.emplace_back(
        Owned{.topic = letter.destination_id().empty() || letter.has_ingest()
                           ? std::string(event_log::kIngestTopic)
                           : event_log::DestinationTopic(letter.destination_id()),
              .meta = MetaOf(letter),
              .mark = mark.SerializeAsString()});
    records.push_back(
        {.topic = kept.topic,
         .record = {.key = letter.user_key(), .meta = kept.meta, .value = letter.event()}});
    records.push_back({.topic = event_log::kDeadLetterTopic,
                       .record = {.key = letter.user_key(), .value = kept.mark}});
    auto* count = counters.add_counts();
    count->set_source_id(letter.source_id());
    count->set_destination_id(letter.destination_id());
    count->set_fate(letter.has_ingest() && !letter.destination_id().empty()
                        ? accounting::v1::REDRIVEN_TO_CHAIN
                        : accounting::v1::REDRIVEN);
    count->set_count(1);
  }
  const std::string counted = counters.SerializeAsString();
  records.push_back({.topic = event_log::kCountersTopic, .record = {.value = counted}});
  MR_ASSIGN_OR_RETURN(const auto transaction, log_.NewTransaction("control-plane-redrive"));
  MR_RETURN_IF_ERROR(transaction->Begin());
  MR_RETURN_IF_ERROR(transaction->Append(records));
  return transaction->Commit();
}

}  // namespace millrace::control_plane
