#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "libs/base/bytes.h"
#include "libs/base/status.h"
#include "millrace/config/v1/workspace.pb.h"

/// Users' transformations: one version of JavaScript or of rules, run over batches of events.
namespace millrace::transformation {

struct Input {
  Bytes event;                 // JSON
  std::string metadata_json;   // what metadata(event) answers (TRF-02), as a JSON object
  int64_t now_us = 0;          // of the injected clock
  std::string seed;            // of the injected randomness; the same at every attempt
};

/// What became of one Input. No events and no error: the transformation dropped it.
struct Output {
  std::vector<Bytes> events;
  std::string error;           // not empty: goes to the dead letters
  std::string error_class;     // thrown | timeout | memory | result_too_large | invalid_result | engine
  std::string stack;           // in the user's own line numbers
  std::vector<std::string> log;
  int64_t cpu_us = 0;
  bool again = false;          // the engine failed, not the script: may be tried once more
};

/// One version, loaded. Immutable; any thread. Run blocks until the whole batch is done; one Output an
/// Input, in their order. An event that breaks a limit costs itself only.
class Transformer {
 public:
  virtual ~Transformer() = default;
  virtual const std::string& version_id() const = 0;
  virtual std::vector<Output> Run(std::vector<Input> inputs) = 0;
};

/// Makes transformers and keeps those in use. Any thread.
class TransformerFactory {
 public:
  virtual ~TransformerFactory() = default;
  /// `workspace` holds the libraries and credentials that the version may use. kInvalidArgument with
  /// line, column and reason when the code is at fault.
  virtual StatusOr<std::shared_ptr<Transformer>> Make(
      const config::v1::TransformationVersion& version,
      std::shared_ptr<const config::v1::Workspace> workspace) = 0;
};

}  // namespace millrace::transformation
