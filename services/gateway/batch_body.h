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

/// How many elements the batch of `body` has. Nobody has checked the body yet: of what is not JSON
/// the count says nothing.
size_t CountBatch(std::string_view body);

/// How many members the objects of `json`, one value that has been validated before, have together.
size_t CountKeys(std::string_view json);

/// The write key that the first event with one carries, "" when none does. `batch` is a JSON array.
std::string WriteKeyOfEvents(std::string_view batch);

}  // namespace millrace::gateway
