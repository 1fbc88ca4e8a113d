#include "libs/base/status.h"

#include <catch2/catch.hpp>

#include "libs/base/failpoint.h"

namespace millrace {
namespace {

Status Twice(StatusOr<int> value, int* out) {
  MR_ASSIGN_OR_RETURN(const int got, std::move(value));
  *out = 2 * got;
  return OkStatus();
}

}  // namespace

TEST_CASE("status macros pass values and errors on", "[status]") {
  int out = 0;
  CHECK(Twice(21, &out).ok());
  CHECK(out == 42);
  const Status status = Twice(Error(StatusCode::kUnavailable, "no {}", "disk"), &out);
  CHECK(Message(Annotate(status, "log")) == "log: no disk");
  CHECK(IsRetryable(status));
  CHECK_FALSE(IsRetryable(MakeStatus(StatusCode::kInvalidArgument, "")));
}

TEST_CASE("a failpoint fires at its n-th passing only", "[failpoint]") {
  CHECK_FALSE(ArmFailpoints("nonsense").ok());
  CHECK_FALSE(ArmFailpoints("x:0:kill").ok());
  REQUIRE(ArmFailpoints("here:2:error").ok());
  CHECK(Failpoint("here").ok());
  CHECK_FALSE(Failpoint("here").ok());
  CHECK(Failpoint("here").ok());
  CHECK(Failpoint("elsewhere").ok());
}

}  // namespace millrace
