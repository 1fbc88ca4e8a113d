#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "libs/script/worker_pool.h"

namespace millrace::script {

/// What a pool was asked to do: calls of a module, the loading of one, or the inspection of a
/// source. The pool's thread owns it from its submission to Finish.
struct Job {
  uint32_t id = 0;
  std::shared_ptr<const Module> module;
  std::vector<CallInput> inputs;
  CallOptions options;
  CallDone done;
  std::function<void(Status)> loaded;  // of a Load

  // Of an inspection, which has no module.
  std::string name;
  std::string source;
  std::function<void(StatusOr<Inspection>, SourceFault)> inspected;

  std::vector<CallOutput> outputs;
  std::vector<bool> ended;       // by input
  std::vector<bool> asked;       // has asked the host something since it was started
  std::vector<uint32_t> asking;  // questions under way
  size_t ended_count = 0;
  std::unordered_map<uint32_t, uint32_t> requests;  // under way: the worker's number, the input
  int losses = 0;  // of workers that did not say which call was at fault

  bool inspection() const { return module == nullptr; }
  bool complete() const { return ended_count == inputs.size(); }

  void Prepare();
  void End(uint32_t input, CallOutput output);
  /// Its worker is gone: what has not ended will run again, from the beginning.
  void Rewind();
  void Finish();
  /// Fails what has not ended.
  void FailRest(Outcome outcome, ErrorClass error_class, std::string_view message);
};

}  // namespace millrace::script
