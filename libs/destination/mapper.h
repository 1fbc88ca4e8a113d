#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "libs/base/bytes.h"
#include "libs/base/status.h"
#include "libs/destination/exchange.h"

namespace millrace::destination {

/// One event to be mapped for one configured destination.
struct MapInput {
  Bytes event;            // the processed event, JSON
  int64_t now_us = 0;     // context.now
  std::string uuid_seed;  // makes context.uuid() the same at each attempt, e.g. the message id
  /// Routing keys that a transformation set (DeliveryMeta.changed_keys): context.changed(key).
  std::vector<std::string> changed_keys;
};

/// What became of one MapInput: requests in the order to be sent; no request and no error: the
/// mapping declined the event (filtered).
struct MapResult {
  std::vector<Prepared> requests;
  std::string error;  // not empty: the event cannot be mapped; goes to the dead letters
  std::string stack;
  bool engine_fault = false;  // the script worker died or timed out on it; may be tried again
};

using MapDone = std::function<void(std::vector<MapResult>)>;

/// Maps events of one configured destination with its type's mapping.js.
///
/// Thread-safety: any thread. `done` runs on the script pool's thread, exactly once, with one
/// result per input; it must not block.
class Mapper {
 public:
  virtual ~Mapper() = default;
  virtual void Map(std::vector<MapInput> inputs, MapDone done) = 0;
};

}  // namespace millrace::destination
