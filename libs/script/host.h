#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace millrace::script {

/// One question of a script to the world outside its worker.
struct HostCall {
  uint32_t input = 0;     // index, among the inputs of the batch, of the call that asks
  std::string name;       // e.g. "fetch"
  std::string arguments;  // a JSON array
};

/// JSON, or with `failed` the message of an Error that the script may catch.
struct HostAnswer {
  bool failed = false;
  std::string text;
  std::string error_name;  // of the Error; empty = "Error"
};

/// Answers what scripts ask of the world outside their worker: the only way out of the sandbox.
///
/// Thread-safety: the pool calls Ask and Ended on its own thread, and neither may block for long.
/// `done` may be called from any thread, at once or later, exactly once; the pool lives until then
/// or ignores it. What scripts send is hostile: names and arguments are not to be believed.
class Host {
 public:
  virtual ~Host() = default;
  virtual void Ask(HostCall call, std::function<void(HostAnswer)> done) = 0;
  /// The call of this input has ended, well or not; nothing more is asked for it, unless its worker
  /// died and it is run again. Told in the order of ending.
  virtual void Ended(uint32_t input, bool well) {
    static_cast<void>(input);
    static_cast<void>(well);
  }
};

}  // namespace millrace::script
