#include "services/processor/missing_topics.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "libs/base/log.h"

namespace millrace::processor {
namespace {

constexpr std::chrono::seconds kLookAgain{1};

bool Has(const config::WorkspacePtr& workspace, std::string_view destination_id) {
  return workspace != nullptr &&
         std::ranges::any_of(workspace->destinations(), [&](const auto& destination) {
           return destination.id() == destination_id;
         });
}

}  // namespace

Status MissingTopics::Refresh(const FanOut& fan_out) {
  const MonotonicTime now = clock_.Monotonic();
  const bool again = !reasons_.empty() && now - looked_at_ >= kLookAgain;
  if (looked_for_ == &fan_out && !again) return OkStatus();
  MR_ASSIGN_OR_RETURN(const auto listed, log_.ListTopics());
  const StringSet topics(listed.begin(), listed.end());
  const auto newest = newest_.Current();
  Reasons reasons;
  for (const std::string& id : fan_out.destination_ids()) {
    if (topics.contains(event_log::DestinationTopic(id))) continue;
    reasons[id] = Has(newest, id) ? kTopicMissing : kDestinationDeleted;
    if (!reasons_.contains(id)) {
      log::Warning("processor: destination '{}' has no topic ({}): its events are dead-lettered",
                   id, reasons[id]);
    }
  }
  for (const auto& [id, reason] : reasons_) {
    if (!reasons.contains(id)) log::Info("processor: destination '{}' takes events again", id);
  }
  reasons_ = std::move(reasons);
  looked_for_ = &fan_out;
  looked_at_ = now;
  return OkStatus();
}

}  // namespace millrace::processor
