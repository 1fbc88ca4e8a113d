#include "services/warehouse-loader/destination_config.h"

#include <utility>

namespace millrace::warehouse_loader {
namespace {

std::chrono::milliseconds Interval(const destination::Config& config,
                                   std::chrono::milliseconds default_interval) {
  using std::chrono::duration;
  using std::chrono::milliseconds;
  if (const auto seconds = config.Number("syncIntervalSeconds")) {
    return std::chrono::duration_cast<milliseconds>(duration<double>(*seconds));
  }
  if (const auto minutes = config.Number("syncFrequency")) {
    return std::chrono::duration_cast<milliseconds>(duration<double, std::ratio<60>>(*minutes));
  }
  return default_interval;
}

}  // namespace

DestinationConfig ReadDestinationConfig(const config::v1::Destination& destination,
                                        destination::Config config,
                                        const warehouse::Dialect& dialect,
                                        std::chrono::milliseconds default_interval) {
  DestinationConfig result{.config = std::move(config)};
  const destination::Config& read = result.config;
  result.sync_interval = Interval(read, default_interval);
  result.rows.names = dialect.Names();
  result.rows.names.divide_numbers = read.Flag("underscoreDivideNumbers");
  result.rows.destination_id = destination.id();
  result.rows.destination_type = destination.type();
  result.rows.users_context_traits = read.Flag("allowUsersContextTraits");
  result.rows.skip_tracks_table = read.Flag("skipTracksTable");
  result.rows.skip_users_table = read.Flag("skipUsersTable");
  result.rows.store_full_event = read.Flag("storeFullEvent");
  result.rows.json_paths = read.List("jsonPaths");
  return result;
}

}  // namespace millrace::warehouse_loader
