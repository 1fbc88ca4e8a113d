#include "services/warehouse-loader/destination_config.h"

#include <nlohmann/json.hpp>

#include <cstdlib>
#include <string_view>

namespace millrace::warehouse_loader {
namespace {

using nlohmann::json;

/// A number, or one as text: RudderStack's forms keep numbers so. Negative when it is neither.
double Number(const json& value) {
  if (value.is_number()) return value.get<double>();
  if (!value.is_string() || value.get_ref<const std::string&>().empty()) return -1;
  const std::string& text = value.get_ref<const std::string&>();
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  return *end == '\0' ? number : -1;
}

bool Flag(const json& config, const char* key) {
  const auto found = config.find(key);
  return found != config.end() && found->is_boolean() && found->get<bool>();
}

StatusOr<std::chrono::milliseconds> Interval(const json& config,
                                             std::chrono::milliseconds default_interval) {
  struct Unit {
    const char* key;
    double milliseconds;
  };
  for (const Unit unit : {Unit{"syncIntervalSeconds", 1000}, Unit{"syncFrequency", 60'000}}) {
    const auto found = config.find(unit.key);
    if (found == config.end() || found->is_null() || *found == "") continue;
    const double interval = Number(*found) * unit.milliseconds;
    if (interval < 1000 || interval > 7 * 86'400'000.0) {
      return Error(StatusCode::kInvalidArgument, "`{}` must be from 1 second to 7 days", unit.key);
    }
    return std::chrono::milliseconds(static_cast<int64_t>(interval));
  }
  return default_interval;
}

std::vector<std::string> Paths(const json& config) {
  std::vector<std::string> paths;
  const auto found = config.find("jsonPaths");
  if (found == config.end()) return paths;
  const auto add = [&paths](std::string_view path) {
    const size_t begin = path.find_first_not_of(" \t\n");
    if (begin == std::string_view::npos) return;
    paths.emplace_back(path.substr(begin, path.find_last_not_of(" \t\n") - begin + 1));
  };
  if (found->is_array()) {
    for (const json& path : *found) {
      if (path.is_string()) add(path.get_ref<const std::string&>());
    }
  } else if (found->is_string()) {
    std::string_view rest = found->get_ref<const std::string&>();
    while (!rest.empty()) {
      const size_t comma = std::min(rest.find(','), rest.size());
      add(rest.substr(0, comma));
      rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
  }
  return paths;
}

}  // namespace

StatusOr<DestinationConfig> ParseDestinationConfig(const config::v1::Destination& destination,
                                                   const warehouse::Dialect& dialect,
                                                   std::chrono::milliseconds default_interval) {
  const json config = json::parse(destination.config_json(), nullptr, false);
  if (!config.is_object()) {
    return MakeStatus(StatusCode::kInvalidArgument, "the configuration is not a JSON object");
  }
  DestinationConfig result;
  MR_ASSIGN_OR_RETURN(result.sync_interval, Interval(config, default_interval));
  result.rows.names = dialect.Names();
  result.rows.names.divide_numbers = Flag(config, "underscoreDivideNumbers");
  result.rows.destination_id = destination.id();
  result.rows.destination_type = destination.type();
  result.rows.users_context_traits = Flag(config, "allowUsersContextTraits");
  result.rows.skip_tracks_table = Flag(config, "skipTracksTable");
  result.rows.skip_users_table = Flag(config, "skipUsersTable");
  result.rows.store_full_event = Flag(config, "storeFullEvent");
  result.rows.json_paths = Paths(config);
  return result;
}

}  // namespace millrace::warehouse_loader
