#include "libs/script/job.h"

#include <utility>

#include "libs/script/host.h"

namespace millrace::script {

void Job::Prepare() {
  outputs.resize(inputs.size());
  ended.assign(inputs.size(), false);
  asked.assign(inputs.size(), false);
  asking.assign(inputs.size(), 0);
}

void Job::End(uint32_t input, CallOutput output) {
  ended[input] = true;
  ++ended_count;
  if (options.host != nullptr) {
    options.host->Ended(input,
                        output.outcome == Outcome::kValue || output.outcome == Outcome::kNothing);
  }
  outputs[input] = std::move(output);
}

void Job::Rewind() {
  requests.clear();
  for (uint32_t input = 0; input < inputs.size(); ++input) {
    asking[input] = 0;
    const bool take_back = asked[input] && !ended[input] && options.host != nullptr;
    asked[input] = false;
    if (take_back) options.host->Ended(input, false);
  }
}

void Job::Finish() {
  requests.clear();
  if (auto report = std::exchange(loaded, nullptr)) report(OkStatus());
  if (auto report = std::exchange(done, nullptr)) report(std::move(outputs));
}

void Job::FailRest(Outcome outcome, ErrorClass error_class, std::string_view message) {
  const Status status = MakeStatus(
      outcome == Outcome::kError ? StatusCode::kInvalidArgument : StatusCode::kUnavailable,
      message);
  if (auto report = std::exchange(loaded, nullptr)) report(status);
  if (auto report = std::exchange(inspected, nullptr)) report(status, {});
  for (uint32_t input = 0; input < inputs.size(); ++input) {
    if (ended[input]) continue;
    End(input, {.outcome = outcome, .error = std::string(message), .error_class = error_class});
  }
  Finish();
}

}  // namespace millrace::script
