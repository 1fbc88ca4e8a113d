#pragma once

#include <memory>
#include <string>

#include "libs/base/status.h"

namespace millrace::transformation {

/// Where an address is, from a MaxMind database file of the operator's. Any thread.
class Geolocation {
 public:
  /// kFailedPrecondition: the file is not there or not a database, with its path.
  static StatusOr<std::unique_ptr<Geolocation>> Open(const std::string& path);
  virtual ~Geolocation() = default;

  /// {"ip", "city", "country", "region", "postal", "location", "timezone"}: those that the database
  /// knows, as RudderStack names them (country: ISO code; location: "latitude,longitude"). The file
  /// is read anew when it has changed. kInvalidArgument: not an address; kNotFound: not in the
  /// database.
  virtual StatusOr<std::string> Lookup(const std::string& ip) = 0;
};

}  // namespace millrace::transformation
