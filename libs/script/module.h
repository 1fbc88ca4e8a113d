#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/byte_budget.h"
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
///
/// With an `adapter`, trusted JavaScript of the form `(host) => (exports) => (event) => value`, the
/// adapter decides what is called. It gets `host` before the module is evaluated, so that what it
/// puts on globalThis is there while the module loads; then the module's exports, where what it
/// throws fails the load; then the event of each call. While code of a call runs, also after an
/// await, `host` speaks for that call. `host` has
///   host.ask(name, ...args)   a promise of what script::Host answers;
///   host.askNow(name, ...args)  the same, the worker standing still until it is there;
///   host.emit(index, value)   adds CallOutput::emitted; `index` is the adapter's own;
///   host.fail(index, message, name, stack)  the same for an event that failed;
///   host.log(text)            adds a line to CallOutput::log;
///   host.shared, host.extra   JSON of CallOptions and CallInput, parsed on first use;
///   host.config               config_json, parsed;
///   host.test                 CallOptions::test.
struct Module {
  std::string id;
  std::string version;
  std::string source;
  std::string entry = "map";
  std::string adapter;  // empty: none; then `entry` is not looked at
  /// Names of which at least one should be exported. When none is, those that the source declares
  /// at its top level, e.g. as a plain function, are taken as exported.
  std::vector<std::string> wanted_exports;
  /// One call of a batch at a time. Otherwise a call that waits for an answer of the host lets
  /// others of the batch go on, but never one with the same `order`.
  bool sequential = false;
  std::string config_json = "{}";
  std::vector<std::pair<std::string, std::string>> libraries;  // import name, source
  Limits limits;
};

struct CallInput {
  Bytes event;         // JSON
  int64_t now_us = 0;  // context.now, Date.now(), new Date()
  std::string seed;    // of context.uuid() and Math.random()
  /// host.extra of an adapter; without one the list of names that context.changed knows. Empty:
  /// undefined, no names.
  std::string extra_json;
  /// Calls of one batch with the same order run strictly one after another; 0 = any time.
  uint64_t order = 0;
};

class Host;

/// What all calls of one batch share.
struct CallOptions {
  std::shared_ptr<Host> host;                      // null: whatever is asked fails
  std::shared_ptr<const std::string> shared_json;  // host.shared of an adapter; null = undefined
  bool test = false;                               // measure `peak_bytes` too
  /// For what the calls give, in memory of the pool's process. What comes when it is used up is
  /// dropped: kEngineFault with kResultTooLarge. Null: all is kept.
  std::shared_ptr<ByteBudget> output_budget;
};

enum class Outcome : uint8_t {
  kNothing,  // null or undefined was returned
  kValue,
  kError,        // the script's fault: it threw, or broke a limit
  kEngineFault,  // the worker process died or hung on this call, or could not run at all
};

enum class ErrorClass : uint8_t {
  kNone,
  kThrown,          // the script threw, or returned what it may not
  kTimeout,         // ran longer than Limits::cpu_time, or waits for what never comes
  kMemory,          // beyond Limits::memory_bytes
  kStack,           // beyond Limits::stack_bytes
  kResultTooLarge,  // beyond Limits::result_bytes, or cyclic
  kEngine,          // not the script's fault
};

/// One value that an adapter emitted.
struct Emitted {
  uint32_t index = 0;
  bool failed = false;
  std::string text;  // JSON, or with `failed` the message
  std::string stack;
  ErrorClass error_class = ErrorClass::kNone;  // with `failed`
};

struct CallOutput {
  Outcome outcome = Outcome::kNothing;
  std::string value;  // JSON text; context.raw stands in it as {"$raw":true}
  std::string error;
  std::string stack;
  std::string log;  // lines of log(), cut at 8 KiB
  ErrorClass error_class = ErrorClass::kNone;
  std::vector<Emitted> emitted;
  int64_t cpu_us = 0;
  uint64_t peak_bytes = 0;  // of the module's heap during this call; with CallOptions::test
};

/// What one source imports and exports, without running it.
struct Inspection {
  std::vector<std::string> imports;  // specifiers, in order of their first mention
  std::vector<std::string> exports;
};

/// Where a source is at fault; 0 = not known. Lines and columns count from 1.
struct SourceFault {
  std::string message;
  int line = 0;
  int column = 0;
};

}  // namespace millrace::script
