#include "services/control-plane/destination_document.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

#include "services/control-plane/script_document.h"

namespace millrace::control_plane {
namespace {

using Json = nlohmann::json;
using config::v1::Destination;

constexpr uint64_t kLeastShareBytes = 1 << 20;
constexpr char kGiveUp[] = "give_up";
constexpr char kRefuseSources[] = "refuse_sources";

bool IsMask(const Json& json) {
  return json.is_string() && json.get_ref<const std::string&>().rfind("***", 0) == 0;
}

/// Whether `given` may be `stored`, read back with secrets masked and perhaps edited otherwise: of
/// an object, every text that is not masked must be the same.
bool MayBeMasked(const Json& given, const Json& stored) {
  if (!given.is_object() || !stored.is_object()) return IsMask(given) || given == stored;
  for (const auto& [key, value] : given.items()) {
    if (IsMask(value)) continue;
    if (!stored.contains(key) || stored[key] != value) return false;
  }
  return true;
}

/// Secrets that were read back masked take their stored values again. A list's items are told apart
/// by what of them is not masked, so that none takes its neighbour's secret.
Status KeepMaskedSecrets(const std::string& where, const Json& stored, Json* given) {
  if (given->is_object()) {
    for (auto& [key, value] : given->items()) {
      const Json before = stored.is_object() && stored.contains(key) ? stored[key] : Json();
      MR_RETURN_IF_ERROR(KeepMaskedSecrets(where + "." + key, before, &value));
    }
  } else if (given->is_array()) {
    for (size_t i = 0; i < given->size(); ++i) {
      Json& item = (*given)[i];
      Json before;
      if (stored.is_array()) {
        const auto found = std::find_if(stored.begin(), stored.end(),
                                        [&](const Json& one) { return MayBeMasked(item, one); });
        if (found != stored.end()) before = *found;
      }
      MR_RETURN_IF_ERROR(KeepMaskedSecrets(fmt::format("{}[{}]", where, i), before, &item));
    }
  } else if (IsMask(*given)) {
    if (!stored.is_string()) {
      return Invalid(where,
                     "is masked, and there is no stored value that it stands for; give the value");
    }
    *given = stored;
  }
  return OkStatus();
}

Status FillCount(Entry* share, const char* key, uint64_t* out) {
  int64_t value = 0;
  MR_RETURN_IF_ERROR(share->Number(key, &value));
  if (value < 0) {
    return Invalid(share->where(), fmt::format("'{}' must not be negative; 0 = the default", key));
  }
  *out = static_cast<uint64_t>(value);
  return OkStatus();
}

/// The share is given as a whole: what it leaves out takes its default.
Status FillShare(Entry* entry, Destination* destination) {
  const Json* given = entry->Any("share");
  if (given == nullptr) return OkStatus();
  const std::string where = entry->where() + ".share";
  if (!given->is_object()) return Invalid(where, "must hold keys and values, e.g. {maxBytes: 0}");
  Entry share(*given, where);
  uint64_t max_bytes = 0, max_age_s = 0;
  std::string when = kGiveUp;
  MR_RETURN_IF_ERROR(FillCount(&share, "maxBytes", &max_bytes));
  MR_RETURN_IF_ERROR(FillCount(&share, "maxAgeSeconds", &max_age_s));
  MR_RETURN_IF_ERROR(share.Text("whenUsedUp", &when));
  MR_RETURN_IF_ERROR(share.RefuseOthers());
  if (max_bytes > 0 && max_bytes < kLeastShareBytes) {
    return Invalid(
        where, fmt::format("'maxBytes' must be 0 (the default) or at least {}", kLeastShareBytes));
  }
  if (when != kGiveUp && when != kRefuseSources) {
    return Invalid(
        where, fmt::format("'whenUsedUp' is '{}'; use {} or {}", when, kGiveUp, kRefuseSources));
  }
  destination->clear_share();
  if (max_bytes == 0 && max_age_s == 0 && when == kGiveUp) return OkStatus();
  auto* set = destination->mutable_share();
  set->set_max_bytes(max_bytes);
  set->set_max_age_s(max_age_s);
  set->set_when_used_up(when == kGiveUp ? config::v1::GIVE_UP_OLDEST : config::v1::REFUSE_SOURCES);
  return OkStatus();
}

}  // namespace

Status FillDestination(Entry* entry, const DestinationHooks& hooks, const ScriptDraft& draft,
                       Destination* destination) {
  bool enabled = destination->enabled(), paused = destination->paused();
  MR_RETURN_IF_ERROR(entry->Flag("enabled", &enabled));
  MR_RETURN_IF_ERROR(entry->Flag("paused", &paused));
  destination->set_enabled(enabled);
  destination->set_paused(paused);
  if (enabled) destination->set_disabled_at_us(0);
  if (!enabled && destination->disabled_at_us() == 0) {
    destination->set_disabled_at_us(draft.NowMicros());
  }
  MR_RETURN_IF_ERROR(entry->Text("type", destination->mutable_type()));
  if (destination->type().empty()) return Invalid(entry->where(), "needs a 'type', e.g. WEBHOOK");
  if (const Json* config = entry->Any("config"); config != nullptr) {
    if (!config->is_object()) return Invalid(entry->where(), "'config' must hold keys and values");
    Json given = *config;
    const Json stored = Json::parse(destination->config_json(), nullptr, false);
    MR_RETURN_IF_ERROR(KeepMaskedSecrets(entry->where() + ".config", stored, &given));
    destination->set_config_json(given.dump());
  }
  MR_RETURN_IF_ERROR(FillShare(entry, destination));
  entry->Any("status");  // stands in answers, and says nothing here
  if (destination->config_json().empty()) destination->set_config_json("{}");
  if (destination->enabled()) {
    MR_RETURN_IF_ERROR(
        Annotate(hooks.validate(destination->type(), destination->config_json()), entry->where()));
  }
  MR_RETURN_IF_ERROR(FillChain(entry, draft, destination->mutable_transformations()));
  return entry->RefuseOthers();
}

void TakeOver(const Destination& old, Destination* destination) {
  destination->set_enabled(old.enabled());
  destination->set_disabled_at_us(old.disabled_at_us());
  destination->set_paused(old.paused());
  *destination->mutable_transformations() = old.transformations();
  if (old.has_share()) *destination->mutable_share() = old.share();
}

Json DestinationToJson(const Destination& destination, const DestinationHooks& hooks) {
  Json one = {{"id", destination.id()},
              {"name", destination.name()},
              {"type", destination.type()},
              {"enabled", destination.enabled()},
              {"config", Json::parse(hooks.mask(destination.type(), destination.config_json()),
                                     nullptr, false)}};
  if (destination.paused()) one["paused"] = true;
  if (destination.has_share()) {
    const auto& share = destination.share();
    const bool refuses = share.when_used_up() == config::v1::REFUSE_SOURCES;
    one["share"] = {{"maxBytes", share.max_bytes()},
                    {"maxAgeSeconds", share.max_age_s()},
                    {"whenUsedUp", refuses ? kRefuseSources : kGiveUp}};
  }
  return one;
}

}  // namespace millrace::control_plane
