#pragma once

#include <string>
#include <vector>

#include "libs/base/clock.h"
#include "libs/base/status.h"

namespace millrace::cli {

/// What `millrace send` was asked for.
struct TestEvents {
  std::string type = "track";
  std::string user = "test-user";
  std::string name = "Test Event";  // of a track, page or screen
  std::string properties;           // JSON object; traits of an identify or group
  int count = 1;
};

/// Bodies for POST /v1/batch, at most 100 events each. kInvalidArgument names the option at fault.
StatusOr<std::vector<std::string>> MakeBatches(const TestEvents& wanted, Clock& clock);

}  // namespace millrace::cli
