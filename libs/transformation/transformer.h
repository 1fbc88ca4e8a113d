#pragma once

#include <absl/container/inlined_vector.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/byte_budget.h"
#include "libs/base/bytes.h"
#include "libs/base/status.h"
#include "libs/transformation/state.h"
#include "millrace/config/v1/workspace.pb.h"

/// Users' transformations: one version of JavaScript or of rules, run over batches of events.
namespace millrace::transformation {

struct Input {
  Bytes event;  // JSON, checked where it came in; a NUL need not follow
  /// What metadata(event) answers for this event beyond RunContext::metadata_json (TRF-02), as a
  /// JSON object: messageId, receivedAt, eventName, eventType, rudderId, recordId, jobId.
  std::string metadata_json;
  std::string_view message_id;  // lives until `done`
  int64_t now_us = 0;           // of the injected clock
  std::string seed;             // of the injected randomness; the same at every attempt
  uint64_t user = 0;            // hash of the user key: events of one user run one after another
};

/// What became of one Input. No events and no error: the transformation dropped it.
struct Output {
  absl::InlinedVector<Bytes, 1> events;  // JSON objects
  std::string error;                     // not empty: goes to the dead letters
  std::string error_class;  // thrown | timeout | memory | stack | result_too_large | invalid_result
                            // | engine
  std::string stack;        // in the user's own line numbers
  std::vector<std::string> log;  // secrets of credentials masked
  int64_t cpu_us = 0;
  uint64_t peak_bytes = 0;  // in test runs
  bool again = false;       // the engine failed, not the script: may be tried once more
};

/// What the events of one Run have in common.
struct RunContext {
  /// The part of metadata(event) that belongs to source, connection and destination, as a JSON
  /// object.
  std::shared_ptr<const std::string> metadata_json;
  StateScope* state = nullptr;  // null: `store` fails. Lives until `done`
  bool test = false;
  /// For the outputs of all Runs that share it. What comes when it is used up is dropped, with
  /// class result_too_large and `again`. Null: all is kept.
  std::shared_ptr<ByteBudget> output_budget;
};

using RunDone = std::function<void(std::vector<Output>)>;

/// One version, loaded. Immutable; any thread. Several Runs may be under way at once, but of
/// stateful transformers only one for each StateScope. An event that breaks a limit costs itself
/// only, also in transformBatch.
class Transformer {
 public:
  virtual ~Transformer() = default;
  virtual const std::string& version_id() const = 0;
  /// Whether it uses `store`.
  virtual bool stateful() const = 0;
  /// One Output an Input, in their order. `done` runs once, on this or another thread, and must not
  /// block.
  virtual void Run(std::vector<Input> inputs, const RunContext& context, RunDone done) = 0;
};

/// Run, waited for.
std::vector<Output> RunAndWait(Transformer& transformer, std::vector<Input> inputs,
                               const RunContext& context);

/// A fault in users' code. Lines and columns count from 1; 0 = not known.
struct CodeFault {
  std::string where;  // "transformation", or the library's import name
  std::string message;
  int line = 0;
  int column = 0;
};

/// Makes transformers and keeps those in use. Any thread.
class TransformerFactory {
 public:
  virtual ~TransformerFactory() = default;
  /// `workspace` holds the libraries and credentials that the version may use. kInvalidArgument
  /// with line, column and reason when the code is at fault. The same version with the same
  /// libraries and credentials gives the same transformer while it is in use.
  virtual StatusOr<std::shared_ptr<Transformer>> Make(
      const config::v1::TransformationVersion& version, const config::v1::Workspace& workspace) = 0;
  /// Everything that is wrong with a version or library, before it is published: syntax, entry
  /// points, imports that are not there, names a library does not export, cycles, rules that cannot
  /// be. Empty: fine.
  virtual std::vector<CodeFault> Check(const config::v1::TransformationVersion& version,
                                       const config::v1::Workspace& workspace) = 0;
  virtual std::vector<CodeFault> CheckLibrary(const config::v1::LibraryVersion& version,
                                              const config::v1::Workspace& workspace) = 0;
};

}  // namespace millrace::transformation
