#pragma once

#include <string>
#include <string_view>

namespace millrace::gateway {

/// What the object around a batch says: raw JSON, empty when absent. Views into the body.
struct BatchBody {
  std::string_view batch, sent_at, write_key;
};

/// Finds them in `body`, JSON that has been validated before. False when it is no object.
bool ScanBatchBody(std::string_view body, BatchBody* found);

/// The write key that the first event with one carries, "" when none does. `batch` is a JSON array.
std::string WriteKeyOfEvents(std::string_view batch);

}  // namespace millrace::gateway
