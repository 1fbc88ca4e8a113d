#pragma once

#include <functional>
#include <string>
#include <vector>

#include "libs/base/status.h"

namespace millrace::conformance {

enum class Outcome : uint8_t { kPassed, kFailed, kLeftOut };

/// The reason to leave a case out that needs no line of its own.
inline constexpr char kPython[] = "Python";

struct CaseResult {
  std::string name;
  Outcome outcome = Outcome::kPassed;
  std::string reason;  // of a failure, or why it was left out; also of one that passed unexpectedly
};

struct KindOptions {
  std::string folder;      // with the cases
  std::string exceptions;  // file of those that cannot pass
};

/// One kind of recorded cases. `report` gets each case when it is done, in their order.
using RunKind = Status (*)(const KindOptions& options,
                           const std::function<void(CaseResult)>& report);

Status RunTransformations(const KindOptions& options,
                          const std::function<void(CaseResult)>& report);

}  // namespace millrace::conformance
