#include "services/millrace/cli/destination_table.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <array>
#include <cstdint>
#include <vector>

#include "services/millrace/cli/runner.h"
#include "services/millrace/cli/table.h"

namespace millrace::cli {
namespace {

using Json = nlohmann::json;

// Of the share that what waits may hold.
constexpr double kWarning = 0.5;
constexpr double kUrgent = 0.8;

Json MemberOf(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_object() ? *found : Json::object();
}

double UsedOf(const Json& share) {
  const uint64_t limit = share.value("limitBytes", uint64_t{0});
  if (limit == 0) return 0;
  return static_cast<double>(share.value("usedBytes", uint64_t{0})) / static_cast<double>(limit);
}

std::string ShareText(const Json& share) {
  if (share.empty()) return "";
  const std::string used = BytesText(share.value("usedBytes", uint64_t{0}));
  const uint64_t limit = share.value("limitBytes", uint64_t{0});
  if (limit == 0) return used;
  return fmt::format("{} of {} ({:.0f} %)", used, BytesText(limit), UsedOf(share) * 100);
}

std::string NotesOf(const Json& destination, const Json& status) {
  const std::string name = Text(destination, "name");
  std::string notes;
  const Json share = MemberOf(status, "share");
  const double used = UsedOf(share);
  if (used >= kWarning) {
    const bool refuses = Text(share, "whenUsedUp") == "refuse_sources";
    notes +=
        fmt::format("{}: {} has used {:.0f} % of its share of the log; when it is used up, {}\n",
                    used >= kUrgent ? "urgent" : "warning", name, used * 100,
                    refuses ? "the sources connected to it are refused"
                            : "its oldest waiting events are given up");
  }
  const std::string fault = Text(status, "topicFault");
  if (!fault.empty()) {
    notes +=
        fmt::format("warning: {} takes no events: its topics are not there: {}\n", name, fault);
  }
  return notes;
}

}  // namespace

std::string BytesText(uint64_t bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string DestinationsTable(const Json& list) {
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "TYPE", "STATE", "WAITING", "SHARE USED", "ID"}};
  std::string notes;
  for (const Json& one : list) {
    const Json status = MemberOf(one, "status");
    std::string state = Text(status, "state");
    if (state.empty()) {
      state = !one.value("enabled", true)  ? "disabled"
              : one.value("paused", false) ? "paused"
                                           : "enabled";
    }
    rows.push_back({Text(one, "name"), Text(one, "type"), state, Text(status, "waiting"),
                    ShareText(MemberOf(status, "share")), Text(one, "id")});
    notes += NotesOf(one, status);
  }
  return FormatTable(rows) + notes;
}

std::string GiveUpText(const std::string& destination, const Json& answer) {
  const Json give_up = MemberOf(answer, "giveUp");
  const std::string waiting = Text(answer, "waiting");
  std::string which = "all of them that came";
  if (const std::string user = Text(give_up, "userKey"); !user.empty()) {
    which = "those of " + user + " that came";
  }
  if (const std::string from = Text(give_up, "from"); !from.empty()) which += " from " + from;
  which += " before " + Text(give_up, "before");
  if (answer.value("applied", false)) {
    return fmt::format("{} events wait for {}; {} are given up, see 'millrace dead-letter ls'\n",
                       waiting, destination, which);
  }
  return fmt::format("{} events wait for {}; {} would be given up (--dry-run)\n", waiting,
                     destination, which);
}

}  // namespace millrace::cli
