#include "libs/event_log/contract/contract.h"

#include <catch2/catch.hpp>

#include "libs/event_log/local/local_log.h"
#include "libs/event_log/local/test_folder.h"

namespace millrace::event_log {
namespace {

std::unique_ptr<EventLog> Open(const LocalLogOptions& options) {
  StatusOr<std::unique_ptr<EventLog>> log = OpenLocalLog(options);
  INFO(Message(log.status()));
  REQUIRE(log.ok());
  return *std::move(log);
}

TEST_CASE("the local log keeps the contract", "[contract]") {
  TestFolder folder;
  contract::Run([&] { return Open({.path = folder.path()}); });
}

TEST_CASE("the local log keeps the contract in files of 64 KiB", "[contract]") {
  TestFolder folder;
  contract::Run([&] { return Open({.path = folder.path(), .segment_bytes = 64 << 10}); });
}

TEST_CASE("a second user of the folder is refused", "[local_log]") {
  TestFolder folder;
  const auto first = Open({.path = folder.path()});
  const auto second = OpenLocalLog({.path = folder.path()});
  CHECK(second.status().code() == StatusCode::kFailedPrecondition);
  CHECK(std::string(Message(second.status())).find("is in use by another process") !=
        std::string::npos);
}

}  // namespace
}  // namespace millrace::event_log
