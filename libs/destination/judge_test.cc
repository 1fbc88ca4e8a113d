#include <catch2/catch.hpp>

#include "libs/destination/catalogue.h"

namespace millrace::destination {
namespace {

Verdict JudgeStatus(int status, const v1::Definition& definition = {}) {
  Answer response;
  response.status = status;
  return Judge(definition, response);
}

TEST_CASE("statuses") {
  for (const int status : {200, 201, 202, 204, 206, 226, 299})
    CHECK(JudgeStatus(status) == Verdict::kDelivered);
  for (const int status : {408, 429, 500, 501, 502, 503, 504, 507, 511, 520, 524, 529, 599}) {
    CHECK(JudgeStatus(status) == Verdict::kRetry);
  }
  for (const int status :
       {100, 300, 301, 302, 304, 307, 308, 400, 401, 402, 403, 404, 405, 406, 409,
        410, 411, 413, 414, 415, 418, 421, 422, 423, 425, 426, 428, 431, 451, 499}) {
    CHECK(JudgeStatus(status) == Verdict::kAbort);
  }
}

TEST_CASE("network faults") {
  for (const char* error_class : {"dns", "connect", "tls", "timeout", "protocol", "reset"}) {
    Answer response;
    response.network_error = "it failed";
    response.error_class = error_class;
    CHECK(Judge({}, response) == Verdict::kRetry);
  }
  Answer refused;
  refused.network_error = "10.0.0.1 is a private address";
  refused.error_class = "refused_address";
  CHECK(Judge({}, refused) == Verdict::kAbort);
  refused.error_class = "invalid_request";
  CHECK(Judge({}, refused) == Verdict::kAbort);
}

TEST_CASE("a definition refines") {
  v1::Definition definition;
  definition.mutable_judging()->add_delivered(409);
  definition.mutable_judging()->add_retried(403);
  definition.mutable_judging()->add_aborted(501);
  CHECK(JudgeStatus(409, definition) == Verdict::kDelivered);
  CHECK(JudgeStatus(403, definition) == Verdict::kRetry);
  CHECK(JudgeStatus(501, definition) == Verdict::kAbort);
}

}  // namespace
}  // namespace millrace::destination
