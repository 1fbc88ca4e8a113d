#include "services/control-plane/destinations.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <utility>

#include "libs/base/ids.h"
#include "libs/event/event_fields.h"
#include "libs/pipeline/shares.h"
#include "services/control-plane/document_entry.h"

namespace millrace::control_plane {
namespace {

using Json = nlohmann::json;
using config::v1::Destination;

constexpr std::chrono::milliseconds kCountersWait{2000};

bool IsDeletion(const PlannedChange& change) {
  return change.kind == "destination" && change.action == "delete";
}

Status FillTime(Entry* entry, const char* key, int64_t* at_us) {
  std::string text;
  MR_RETURN_IF_ERROR(entry->Text(key, &text));
  if (text.empty() || ParseTimestamp(text, at_us)) return OkStatus();
  return Invalid(entry->where(),
                 fmt::format("'{}' is '{}'; give a time as 2026-01-31T12:00:00Z", key, text));
}

StatusOr<config::v1::GiveUp> ReadGiveUp(const Json& body, const std::string& workspace_id,
                                        int64_t now_us) {
  if (!body.is_object()) return Invalid("the body", "must be an object");
  Entry entry(body, "give-up");
  std::string user, anonymous_id;
  int64_t from_us = 0, before_us = now_us;
  MR_RETURN_IF_ERROR(entry.Text("user", &user));
  MR_RETURN_IF_ERROR(entry.Text("anonymousId", &anonymous_id));
  MR_RETURN_IF_ERROR(FillTime(&entry, "from", &from_us));
  MR_RETURN_IF_ERROR(FillTime(&entry, "before", &before_us));
  MR_RETURN_IF_ERROR(entry.RefuseOthers());
  if (before_us > now_us) {
    return Invalid(entry.where(), "'before' is in the future; only what waits now can be given up");
  }
  if (from_us >= before_us) return Invalid(entry.where(), "'from' is not earlier than 'before'");
  if (!user.empty() && !anonymous_id.empty()) {
    return Invalid(entry.where(), "has both 'user' and 'anonymousId'; keep one");
  }
  config::v1::GiveUp give_up;
  give_up.set_id(NewId("gup_"));
  give_up.set_appended_from_us(from_us);
  give_up.set_appended_before_us(before_us);
  give_up.set_made_at_us(now_us);
  if (!user.empty() || !anonymous_id.empty()) {
    give_up.set_user_key(event::UserKey(workspace_id, user, anonymous_id));
  }
  return give_up;
}

/// Whether `one` takes all that `other` takes.
bool Covers(const config::v1::GiveUp& one, const config::v1::GiveUp& other) {
  return one.appended_from_us() <= other.appended_from_us() &&
         one.appended_before_us() >= other.appended_before_us() &&
         (one.user_key().empty() || one.user_key() == other.user_key());
}

Json GiveUpJson(const config::v1::GiveUp& give_up) {
  Json one = {{"id", give_up.id()}, {"before", FormatRfc3339Millis(give_up.appended_before_us())}};
  if (give_up.appended_from_us() != 0) {
    one["from"] = FormatRfc3339Millis(give_up.appended_from_us());
  }
  if (!give_up.user_key().empty()) one["userKey"] = give_up.user_key();
  return one;
}

int64_t WaitingFor(const StringMap<int64_t>& waiting, const std::string& id) {
  const auto found = waiting.find(id);
  return found == waiting.end() ? 0 : std::max<int64_t>(0, found->second);
}

Json ShareJson(const Destination& destination, const pipeline::DestinationShare& share) {
  const bool refuses = destination.share().when_used_up() == config::v1::REFUSE_SOURCES;
  return {{"usedBytes", share.bytes},
          {"limitBytes", share.limit_bytes},
          {"whenUsedUp", refuses ? "refuse_sources" : "give_up"}};
}

}  // namespace

Status Destinations::AddStatus(const config::v1::Workspace& workspace, Json* list) {
  MR_ASSIGN_OR_RETURN(const auto waiting, store_.Waiting());
  const auto usage = log_.Usage();  // a log that is away hides no destination
  pipeline::ShareEvaluation shares;
  if (usage.ok() && usage->quota_bytes > 0) {
    shares = pipeline::EvaluateShares(*usage, workspace, {});
  }
  StringMap<const Destination*> by_id;
  for (const Destination& one : workspace.destinations()) by_id[one.id()] = &one;
  for (Json& entry : *list) {
    const Destination& destination = *by_id.at(entry["id"].get<std::string>());
    Json status = {{"state", !destination.enabled() ? "disabled"
                             : destination.paused() ? "paused"
                                                    : "enabled"},
                   {"waiting", WaitingFor(waiting, destination.id())}};
    if (destination.disabled_at_us() != 0) {
      status["disabledAt"] = FormatRfc3339Millis(destination.disabled_at_us());
    }
    for (const auto& give_up : destination.give_ups()) {
      status["giveUps"].push_back(GiveUpJson(give_up));
    }
    if (const auto* share = shares.Find(destination.id()); share != nullptr) {
      status["share"] = ShareJson(destination, *share);
    }
    const std::string fault = topics_.FaultOf(destination.id());
    if (!fault.empty()) status["topicFault"] = fault;
    entry["status"] = std::move(status);
  }
  return OkStatus();
}

void Destinations::ForgetOldGiveUps(int64_t now_us, Destination* destination) {
  auto& kept = *destination->mutable_give_ups();
  kept.erase(
      std::remove_if(kept.begin(), kept.end(),
                     [&](const auto& one) { return one.made_at_us() < now_us - kGiveUpAgeUs; }),
      kept.end());
}

StatusOr<Json> Destinations::GiveUp(const std::string& id, const Json& body, ScriptDraft* draft) {
  auto& list = *draft->workspace().mutable_destinations();
  const auto found = std::ranges::find(list, id, [](const Destination& one) { return one.id(); });
  if (found == list.end()) {
    return Error(StatusCode::kNotFound, "destinations: there is none with id '{}'", id);
  }
  const int64_t now_us = clock_.NowMicros();
  MR_ASSIGN_OR_RETURN(const auto give_up, ReadGiveUp(body, draft->workspace().id(), now_us));
  ForgetOldGiveUps(now_us, &*found);
  auto& kept = *found->mutable_give_ups();
  kept.erase(std::remove_if(kept.begin(), kept.end(),
                            [&](const auto& one) { return Covers(give_up, one); }),
             kept.end());
  if (kept.size() >= kMaxGiveUps) {
    return Error(StatusCode::kResourceExhausted,
                 "destination '{}' has {} give-ups already; give up all that waits, which takes "
                 "their place, or wait until the oldest is 8 days old",
                 found->name(), kept.size());
  }
  *kept.Add() = give_up;
  found->set_revision(NewId("rev_"));
  MR_ASSIGN_OR_RETURN(const auto waiting, store_.Waiting());
  return Json{{"giveUp", GiveUpJson(give_up)}, {"waiting", WaitingFor(waiting, id)}};
}

Status Destinations::CheckDeletions(const std::vector<PlannedChange>& plan, bool give_up_waiting,
                                    Json* changes) {
  if (std::ranges::none_of(plan, IsDeletion)) return OkStatus();
  const bool known = reader_.CatchUp(kCountersWait);
  MR_ASSIGN_OR_RETURN(const auto waiting, store_.Waiting());
  std::vector<std::string> refused;
  for (size_t i = 0; i < plan.size(); ++i) {
    if (!IsDeletion(plan[i])) continue;
    const int64_t count = WaitingFor(waiting, plan[i].id);
    (*changes)[i]["waiting"] = count;
    if (!known) {
      refused.push_back(
          fmt::format("'{}' may have events waiting (how many is not known now)", plan[i].name));
    } else if (count > 0) {
      refused.push_back(fmt::format("for '{}' {} events wait", plan[i].name, count));
    }
  }
  if (refused.empty() || give_up_waiting) return OkStatus();
  return Error(
      StatusCode::kFailedPrecondition,
      "a deleted destination loses what waits for it, and {}; let them be delivered first, "
      "or allow it by ?give_up_waiting=true (--give-up-waiting)",
      fmt::join(refused, ", "));
}

StatusOr<std::vector<PlannedChange>> Destinations::PlanLeftOver(const std::string& id) {
  MR_RETURN_IF_ERROR(log_.Describe(event_log::DestinationTopic(id)).status());
  return std::vector<PlannedChange>{
      {.action = "delete", .kind = "destination", .name = id, .id = id}};
}

Status Destinations::DeleteLeftOver(const std::string& id) {
  return store_.AddDeleted({.id = id, .name = id, .deleted_at_us = clock_.NowMicros()});
}

Status Destinations::MakeRoom(const std::vector<PlannedChange>& plan) {
  for (const PlannedChange& change : plan) {
    if (change.kind != "destination" || change.action != "create") continue;
    const Status gone = topics_.Finish(change.id);
    if (gone.ok()) continue;
    return Error(StatusCode::kUnavailable,
                 "destination '{}': the one with id {} that was deleted is not gone yet: {}",
                 change.name, change.id, Message(gone));
  }
  return OkStatus();
}

}  // namespace millrace::control_plane
