#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/bytes.h"

namespace millrace::script {

/// What one module version may use. Held by the engine; the worker process has its own, wider
/// limits.
struct Limits {
  size_t memory_bytes = 64 << 20;
  std::chrono::milliseconds cpu_time{500};  // of one call
  size_t stack_bytes = 512 << 10;
  size_t result_bytes = 4 << 20;
};

/// One version of a script: an ES module whose export `entry` is called as entry(event, config,
/// context).
///
/// A module that exports `needs_event = false` gets undefined for the event and finds it, parsed on
/// first use, in `context.event`. Immutable once handed to a WorkerPool.
struct Module {
  std::string id;
  std::string version;
  std::string source;
  std::string entry = "map";
  std::string config_json = "{}";
  std::vector<std::pair<std::string, std::string>> libraries;  // import name, source
  Limits limits;
};

struct CallInput {
  Bytes event;         // JSON
  int64_t now_us = 0;  // context.now, Date.now(), new Date()
  std::string seed;    // of context.uuid() and Math.random()
};

enum class Outcome : uint8_t {
  kNothing,  // null or undefined was returned
  kValue,
  kError,        // the script's fault: it threw, or broke a limit
  kEngineFault,  // the worker process died or hung on this call, or could not run at all
};

struct CallOutput {
  Outcome outcome = Outcome::kNothing;
  std::string value;  // JSON text; context.raw stands in it as {"$raw":true}
  std::string error;
  std::string stack;
  std::string log;  // lines of log(), cut at 8 KiB
};

}  // namespace millrace::script
